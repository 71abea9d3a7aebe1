"""Reading a whole message out of the log: for the state of a stream, and for readers that start over."""

from dataclasses import dataclass

from services.edge.resume import Deliver, Gap, UpToDate, step
from shared.content import Content
from shared.lineage import Reset
from shared.position import START, EventId
from shared.store import Meta, Store

__all__ = ("Assembled", "assemble")

_BEGINNING = EventId(START, None)
_PAGE_EVENTS = 1000


@dataclass(frozen=True, slots=True)
class Assembled:
    """The parts of a message so far; `cursor` is the end of the last one."""

    meta: Meta
    content: Content
    cursor: EventId


async def assemble(store: Store, stream_id: str) -> Assembled | None:
    """Walk the log from its start to its tail. None if it is not there."""
    content, cursor = Content(), _BEGINNING
    while (snapshot := await store.read(stream_id, cursor.position, limit=_PAGE_EVENTS)) is not None:
        match step(cursor, snapshot):
            case Deliver(batch):
                for entry in batch.entries:
                    content.add(entry)
                cursor = batch.cursor
            case Gap(to):
                cursor = to
            case Reset():
                # A new attempt discarded what was read so far; it cannot happen more often than there are attempts.
                content, cursor = Content(), _BEGINNING
            case UpToDate():
                lineage = snapshot.meta.lineage
                end = lineage.event_id(content.offset) if lineage.attempt else _BEGINNING
                return Assembled(snapshot.meta, content, end)
            case _:
                return None
    return None
