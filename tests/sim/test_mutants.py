"""The simulation looks for broken rules; here each rule is broken on purpose, and it has to find that.

These are the only tests that replace our own functions: a mutant is nothing else.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from typing import Any

import pytest

from services.edge.carriers.carrier import Carrier
from services.edge.delivery.reader import Reader
from services.worker.writing.writer import Writer
from shared.log.lineage import Lineage, Reset, Resume
from shared.log.position import EventId
from shared.store.calls import Append, Retention
from shared.store.memory import functions as functions
from shared.store.memory.stream import MemoryStream
from shared.store.replies import AppendReply
from tests.sim.schedule import Schedule
from tests.sim.tally import try_seeds

__all__ = ()

# Most show within the first forty; forgotten fences within four hundred.
_SEEDS = 800

_append, _judge = functions.append, Lineage.judge


def zombies_write_on(stream: MemoryStream, call: Append, retention: Retention, now: int) -> AppendReply:
    """Whoever was replaced is not fenced, and adds what it has to the end."""
    current = stream.text("nonce")
    if stream.exists and call.nonce != current:
        moved = stream.number("tail") - call.tail
        call = call._replace(nonce=current, tail=call.tail + moved, safe=stream.number("safe"))
    return _append(stream, call, retention, now)


def appends_just_add(stream: MemoryStream, call: Append, retention: Retention, now: int) -> AppendReply:
    """Not compare-and-append: what was written before its answer was lost is written again."""
    moved = stream.number("tail") - call.tail
    return _append(stream, call._replace(tail=call.tail + moved, safe=max(call.safe + moved, 0)), retention, now)


def every_cursor_is_good(lineage: Lineage, cursor: EventId) -> Resume | Reset:
    """Nobody is told that what it holds is no part of the log any more."""
    return Resume(min(cursor.position.offset, lineage.tail))


def nonces_do_not_matter(lineage: Lineage, cursor: EventId) -> Resume | Reset:
    """Two attempts of one number are taken for one."""
    return _judge(lineage, EventId(cursor.position, None))


def a_reset_is_passed_over(lineage: Lineage, cursor: EventId) -> Resume | Reset:
    """A replaced attempt's reader goes on with the new one."""
    verdict = _judge(lineage, cursor)
    is_replaced = isinstance(verdict, Reset) and verdict.reason == "new_attempt"
    return Resume(min(cursor.position.offset, lineage.tail)) if is_replaced else verdict


def fences_are_forgotten(lineage: Lineage, attempt: int) -> float:
    """What later attempts kept is not looked at."""
    return float("inf")


def a_lost_tail_is_given_up(writer: Writer, tail: int) -> None:
    """What a failover lost is not written again."""
    writer.tail = writer._safe = tail


async def a_gap_is_not_told(reader: Reader, carrier: Carrier, to: EventId) -> None:
    """A reader goes on after what was trimmed as if nothing was missing."""
    reader.cursor = to


# Each with faults that its rule is there for: among all schedules it would be found as well, only later.
MUTANTS: Sequence[tuple[str, Callable[..., Any], set[str]]] = (
    ("shared.store.memory.functions.append", zombies_write_on, {"freeze_worker"}),
    ("shared.store.memory.functions.append", appends_just_add, {"lost_replies"}),
    ("shared.log.lineage.Lineage.judge", every_cursor_is_good, {"crash_worker"}),
    ("shared.log.lineage.Lineage.judge", a_reset_is_passed_over, {"crash_worker"}),
    ("shared.log.lineage.Lineage.judge", nonces_do_not_matter, {"lose_tail", "crash_worker"}),
    ("shared.log.lineage.Lineage._kept_of", fences_are_forgotten, {"crash_worker"}),
    ("services.worker.writing.writer.Writer._reconcile", a_lost_tail_is_given_up, {"lose_tail"}),
    ("services.edge.delivery.reader.Reader._skip", a_gap_is_not_told, {"trim"}),
)


@pytest.mark.slow
@pytest.mark.parametrize(("place", "mutant", "faults"), MUTANTS, ids=[mutant.__name__ for _, mutant, _ in MUTANTS])
def test_a_broken_rule_is_found(
    monkeypatch: pytest.MonkeyPatch, place: str, mutant: Callable[..., Any], faults: set[str]
) -> None:
    monkeypatch.setattr(place, mutant)
    assert any(try_seeds([seed]).broken for seed in islice(seeds_with(faults), _SEEDS))


def seeds_with(faults: set[str]) -> Iterator[int]:
    return (seed for seed in count() if faults <= {planned.fault for planned in Schedule.of(seed).faults})
