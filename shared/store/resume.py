"""The next step of a reader at a cursor, decided from a snapshot of the log. Pure: the caller reads, and obeys."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from shared.log.events import LogEntry
from shared.log.lineage import Lineage, Reset
from shared.log.position import EventId
from shared.log.slicing import InsideCharacter, after
from shared.store.state import Meta, Snapshot

__all__ = ("Deliver", "Gap", "Renamed", "Step", "UpToDate", "Vanished", "at_end", "step")


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send these entries; afterwards the reader is at `cursor`. `is_cut`: the page held more than was to be sent."""

    entries: Sequence[LogEntry]
    cursor: EventId
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class UpToDate:
    """The reader holds all there is."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The log up to `to` has been trimmed away under the reader."""

    to: EventId


@dataclass(frozen=True, slots=True)
class Renamed:
    """The place is good, but under the name of who wrote it: under a later attempt's Redis skips what follows."""

    cursor: EventId


@dataclass(frozen=True, slots=True)
class Vanished:
    """Meta says that there is more, but the log is not there: its key was deleted."""


Step = Deliver | UpToDate | Gap | Reset | Renamed | Vanished


def at_end(meta: Meta, verdict: Step) -> bool:
    """Return whether the stream is over and a reader with this verdict has all of it: nothing will ever come."""
    return meta.is_over and isinstance(verdict, UpToDate)


def step(cursor: EventId, snapshot: Snapshot, *, max_bytes: float = inf) -> Step:
    """Judge the cursor, then find what comes next. The snapshot was read from the cursor's position on.

    A batch ends with the event that takes it to `max_bytes`; an event that is larger than that is a batch of its own.
    """
    meta, lineage = snapshot.meta, snapshot.meta.lineage
    verdict = lineage.judge(cursor)
    if isinstance(verdict, Reset):
        return verdict
    offset = verdict.offset
    if offset < meta.trimmed:
        return Gap(lineage.event_id(meta.trimmed))
    try:
        rest, is_cut = _contiguous(snapshot.entries, offset, lineage, max_bytes)
    except InsideCharacter:
        return Reset("log_lost")
    if rest:
        position = rest[-1].position
        return Deliver(rest, EventId(position, lineage.nonces[position.attempt]), is_cut)
    if offset >= meta.tail:
        return UpToDate()
    named = lineage.event_id(offset)
    return Renamed(named) if named.position < cursor.position else Vanished()


def _contiguous(
    entries: Sequence[LogEntry], offset: int, lineage: Lineage, max_bytes: float
) -> tuple[list[LogEntry], bool]:
    """The entries from `offset` on without fences; they end where a hole begins, or enough is found.

    What is beyond the tail, or of an attempt without a fence, nobody has written who may.
    """
    rest: list[LogEntry] = []
    size, tail, known = 0, lineage.position, lineage.nonces
    for entry in entries:
        if entry.position > tail or entry.position.attempt not in known:
            break
        part = after(entry, offset) if entry.event.kind != "fence" else None
        if part is None:
            continue
        if part.start != offset:
            break
        if size >= max_bytes or (rest and len(part.event.value) > max_bytes):
            return rest, True
        offset = part.position.offset
        size += len(part.event.value)
        rest.append(part)
    return rest, False
