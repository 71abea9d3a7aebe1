"""Reading a whole message out of the log: for the state of a stream, and for readers that start over."""

from dataclasses import dataclass
from math import inf

from services.edge.batch import Batch
from services.edge.resume import Deliver, Gap, UpToDate, step
from shared.content import Content
from shared.lineage import Reset
from shared.position import START, EventId
from shared.store import Meta, Store

__all__ = ("Assembled", "assemble")

_BEGINNING = EventId(START, None)
# Entries of one read of Redis, which holds a reply whole. An event can be 32 KB, so pages begin small and grow only
# while their events are small; and the least is more than a stream can have fences, so that no page is fences only.
_FIRST_EVENTS, _LEAST_EVENTS, _MOST_EVENTS = 32, 8, 1024
_PAGE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Assembled:
    """The parts of a message so far; `cursor` is the end of the last one."""

    meta: Meta
    content: Content
    cursor: EventId


async def assemble(store: Store, stream_id: str, *, most_bytes: float = inf) -> Assembled | None:
    """Walk the log from its start to its tail, or as far as events of `most_bytes` go. None if it is not there."""
    content, cursor, left_bytes, limit = Content(), _BEGINNING, most_bytes, _FIRST_EVENTS
    while (snapshot := await store.read(stream_id, cursor.position, limit=limit)) is not None:
        match step(cursor, snapshot):
            case Deliver(batch):
                for entry in batch.entries:
                    left_bytes -= len(entry.event.value)
                    if left_bytes < 0:
                        return _assembled(snapshot.meta, content)
                    content.add(entry)
                cursor, limit = batch.cursor, _next_limit(batch)
            case Gap(to):
                cursor = to
            case Reset():
                # A new attempt discarded what was read so far; it cannot happen more often than there are attempts.
                content, cursor, left_bytes = Content(), _BEGINNING, most_bytes
            case UpToDate():
                return _assembled(snapshot.meta, content)
            case _:
                return None
    return None


def _next_limit(batch: Batch) -> int:
    size = max(sum(len(entry.event.value) for entry in batch.entries), 1)
    return min(max(batch.events * _PAGE_BYTES // size, _LEAST_EVENTS), 2 * batch.events + _LEAST_EVENTS, _MOST_EVENTS)


def _assembled(meta: Meta, content: Content) -> Assembled:
    lineage = meta.lineage
    return Assembled(meta, content, lineage.event_id(content.offset) if lineage.attempt else _BEGINNING)
