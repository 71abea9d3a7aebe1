"""What a reader at a cursor gets from a snapshot of the log. Pure: the caller reads, and does what this says."""

from collections.abc import Sequence
from dataclasses import dataclass

from services.edge.batch import Batch
from shared.events import LogEntry
from shared.lineage import Reset
from shared.position import EventId
from shared.slicing import InsideCharacter, after
from shared.store import Snapshot

__all__ = ("Deliver", "Gap", "Step", "UpToDate", "Vanished", "at_end", "step")


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send this batch; afterwards the reader is at its cursor."""

    batch: Batch


@dataclass(frozen=True, slots=True)
class UpToDate:
    """The reader holds all there is."""


@dataclass(frozen=True, slots=True)
class Gap:
    """The log up to `to` has been trimmed away under the reader."""

    to: EventId


@dataclass(frozen=True, slots=True)
class Vanished:
    """Meta says that there is more, but the log is not there: its key was deleted."""


Step = Deliver | UpToDate | Gap | Reset | Vanished


def at_end(cursor: EventId, snapshot: Snapshot) -> bool:
    """Whether the stream is over and this reader has all of it: nothing will ever come."""
    return snapshot.meta.is_over and isinstance(step(cursor, snapshot), UpToDate)


def step(cursor: EventId, snapshot: Snapshot) -> Step:
    """Judge the cursor, then find what comes next. The snapshot was read from the cursor's position on."""
    meta, lineage = snapshot.meta, snapshot.meta.lineage
    verdict = lineage.judge(cursor)
    if isinstance(verdict, Reset):
        return verdict
    offset = verdict.offset
    if offset < meta.trimmed:
        return Gap(lineage.event_id(meta.trimmed))
    try:
        rest = _contiguous(snapshot.entries, offset)
    except InsideCharacter:
        return Reset("log_lost")
    if rest:
        return Deliver(Batch(rest, lineage.nonces))
    return UpToDate() if offset >= meta.tail else Vanished()


def _contiguous(entries: Sequence[LogEntry], offset: int) -> list[LogEntry]:
    """The entries from `offset` on without fences; they end where a hole begins."""
    rest: list[LogEntry] = []
    for entry in entries:
        part = after(entry, offset) if entry.event.kind != "fence" else None
        if part is None:
            continue
        if part.position.offset - part.event.size != offset:
            break
        offset = part.position.offset
        rest.append(part)
    return rest
