"""A fixed number of schedules in every test run; thousands more with `python -m tests.sim --schedules 10000`."""

import asyncio
from collections.abc import Sequence

import pytest

from tests.sim.clockwork import Endless, NothingLeft, VirtualLoop
from tests.sim.schedule import FAULTS, INJECTIONS, STEPS, Schedule
from tests.sim.tally import Tally, try_seeds
from tests.sim.world import simulate
from tests.support.history import Received, Record

__all__ = ()

_PIECES = 8
_SEEDS = 75


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("piece", range(_PIECES))
def test_no_schedule_breaks_a_promise(piece: int) -> None:
    tally = try_seeds(range(piece * _SEEDS, (piece + 1) * _SEEDS))
    assert tally.broken == {}, "run one again with: python -m tests.sim --schedules 1 --seed " + str(min(tally.broken))
    assert tally.schedules == _SEEDS
    assert sum(tally.faults.values()) > _SEEDS / 2
    assert {injection for injection, _ in tally.met} == set(INJECTIONS)


def test_every_kind_of_fault_is_planned() -> None:
    planned = {fault.fault for seed in range(200) for fault in Schedule.of(seed).faults}
    assert planned == set(FAULTS)


@pytest.mark.parametrize("seed", range(10))
def test_a_seed_repeats_itself(seed: int) -> None:
    """Readers see the same events at the same times."""
    once, again = (received(simulate(Schedule.of(seed))) for _ in range(2))
    assert once == again


def received(records: Sequence[Record]) -> list[tuple[int, str, str, str]]:
    return sorted((r.at_ns, r.reader, r.id or "", str(r.data)) for r in records if isinstance(r, Received))


def test_an_hour_passes_at_once() -> None:
    loop = VirtualLoop()
    began = loop.time()
    loop.run_until_complete(asyncio.sleep(3600))
    assert loop.time() - began == pytest.approx(3600)
    loop.close()


def test_waiting_for_nobody_is_an_error_and_not_for_ever() -> None:
    loop = VirtualLoop()
    with pytest.raises(NothingLeft):
        loop.run_until_complete(loop.create_future())
    loop.close()


@pytest.mark.parametrize("bounds", [{"most_s": 60.0}, {"most_steps": 1000}])
def test_what_goes_on_for_ever_is_an_error_too(bounds: dict[str, float]) -> None:
    """A schedule in which somebody waits for the dead while the others go on once held up a run for ten minutes."""

    def beat() -> None:
        loop.call_later(0.01, beat)

    loop = VirtualLoop(**bounds)
    beat()
    with pytest.raises(Endless):
        loop.run_until_complete(loop.create_future())
    loop.close()


def test_a_kind_of_fault_that_never_struck_is_missed() -> None:
    everything = Tally(schedules=10_000)
    everything.faults.update(FAULTS)
    everything.met.update((injection, step) for injection in INJECTIONS for step in STEPS)
    assert not list(everything.missing())
    del everything.faults["expire"], everything.met["lost_tail", "claim"]
    assert list(everything.missing()) == ["expire", "lost_tail at claim"]
