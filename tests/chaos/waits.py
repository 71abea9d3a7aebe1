"""What a history says about single faults: when a stream whose worker died went on, how long readers sat still."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from tests.chaos.log import place
from tests.chaos.pauses import Pause
from tests.support.history import Received, Record

__all__ = ("Interruption", "longest_pauses", "next_events_s")

_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Interruption:
    """A worker died. `attempts` are those of the streams that it held."""

    at_ns: int
    attempts: Mapping[str, int] = field(repr=False)


def next_events_s(records: Sequence[Record], interruptions: Sequence[Interruption]) -> list[float]:
    """For each stream that lost its worker: the time until its readers heard of a newer attempt.

    Only that counts as going on: what the dead worker had written still arrives after its death. A stream of which no
    newer attempt was ever heard had come to its end in the same moment, or the checker finds that it never did.
    """
    first: dict[tuple[str, int], int] = {}
    for record in records:
        where = place(record.id) if isinstance(record, Received) and record.id else None
        if where is not None and isinstance(record, Received):
            first.setdefault((record.stream, where.attempt), record.at_ns)
    waits = []
    for each in interruptions:
        for stream, attempt in each.attempts.items():
            later = [at_ns for (name, number), at_ns in first.items() if name == stream and number > attempt]
            if later:
                waits.append((min(later) - each.at_ns) / _S)
    return waits


def longest_pauses(records: Sequence[Record]) -> dict[str, Pause]:
    """The longest silence that each reader sat through between two events, over all its connections."""
    last: dict[str, Received] = {}
    longest: dict[str, Pause] = {}
    for record in records:
        if not isinstance(record, Received) or record.id is None:
            continue
        before = last.get(record.reader)
        last[record.reader] = record
        if before is None:
            continue
        pause = Pause(record.at_ns - before.at_ns, before, record)
        if record.reader not in longest or pause.lasted_ns > longest[record.reader].lasted_ns:
            longest[record.reader] = pause
    return longest
