"""What schedules came to, and whether they are worth anything: a fault that never struck has proved nothing."""

import gc
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from tests.chaos.checker import check
from tests.sim.schedule import FAULTS, INJECTIONS, STEPS, Schedule
from tests.sim.world import simulate
from tests.support.history import Met

__all__ = ("Tally", "try_seeds")

_COLLECT_AFTER_OBJECTS = 100_000
# From here on it is no accident when a kind has not struck, or has not met some step.
_ENOUGH_FOR_FAULTS, _ENOUGH_FOR_STEPS = 1_000, 10_000


@dataclass
class Tally:
    """`broken` are seeds with the first violation of each; `met` counts pairs of (injection, step under way)."""

    schedules: int = 0
    events: int = 0
    readers: int = 0
    resets: int = 0
    gaps: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    met: Counter[tuple[str, str]] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    broken: dict[int, str] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        self.schedules += other.schedules
        self.events += other.events
        self.readers += other.readers
        self.resets += other.resets
        self.gaps += other.gaps
        self.faults += other.faults
        self.met += other.met
        self.outcomes += other.outcomes
        self.broken |= other.broken

    def missing(self) -> Iterator[str]:
        """What should have been injected by so many schedules, and was not."""
        if self.schedules >= _ENOUGH_FOR_FAULTS:
            yield from (fault for fault in FAULTS if not self.faults[fault])
        if self.schedules >= _ENOUGH_FOR_STEPS:
            for injection in INJECTIONS:
                yield from (f"{injection} at {step}" for step in STEPS if not self.met[injection, step])

    def table(self) -> Iterator[str]:
        """How often each injection met each step."""
        yield f"{'':12}" + "".join(f"{step:>11}" for step in STEPS)
        for injection in INJECTIONS:
            yield f"{injection:12}" + "".join(f"{self.met[injection, step]:>11}" for step in STEPS)


def try_seeds(seeds: Iterable[int]) -> Tally:
    """Simulate and check these seeds.

    The collector comes by seldom: by default it looks a hundred times a second through a schedule that still runs.
    """
    logging.disable(logging.CRITICAL)
    thresholds = gc.get_threshold()
    gc.set_threshold(_COLLECT_AFTER_OBJECTS, *thresholds[1:])
    tally = Tally()
    try:
        for seed in seeds:
            _try(seed, tally)
    finally:
        gc.set_threshold(*thresholds)
        logging.disable(logging.NOTSET)
    return tally


def _try(seed: int, tally: Tally) -> None:
    tally.schedules += 1
    try:
        records = simulate(Schedule.of(seed))
        report = check(records)
    except Exception as error:  # noqa: BLE001  # whatever escaped from the worker or the edge broke the schedule
        tally.broken[seed] = f"{type(error).__name__}: {error}"
        return
    tally.events += report.events
    tally.readers += report.readers
    tally.resets += report.resets
    tally.gaps += report.gaps
    tally.faults.update(report.faults)
    tally.met.update({(met.fault, met.step): met.times for met in records if isinstance(met, Met)})
    tally.outcomes.update(report.outcomes)
    if report.first is not None:
        tally.broken[seed] = str(report.first)
