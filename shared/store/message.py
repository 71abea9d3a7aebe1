"""A whole message read out of the log: for the state of a stream, readers that start over, and later attempts."""

from dataclasses import dataclass
from math import inf

from shared.errors import StoreUnavailable
from shared.log.lineage import Reset
from shared.log.message import Content
from shared.log.position import START, EventId
from shared.store.resume import Deliver, Gap, UpToDate, step
from shared.store.state import Meta
from shared.store.store import StreamReads

__all__ = ("Assembled", "Kept", "assemble", "read_content", "read_kept")

_BEGINNING = EventId(START, None)
_PAGE_EVENTS = 1000
# When only the beginning is wanted. An event can be 32 KB.
_SHORT_PAGE_EVENTS = 32


@dataclass(frozen=True, slots=True)
class Assembled:
    """The parts of a message so far; `cursor` is the end of the last one."""

    meta: Meta
    content: Content
    cursor: EventId


async def assemble(store: StreamReads, stream_id: str, *, most_bytes: float = inf) -> Assembled | None:
    """Walk the log from its start to its tail, or as far as events of `most_bytes` go. None if it is not there."""
    content, cursor, left_bytes = Content(), _BEGINNING, most_bytes
    limit = _PAGE_EVENTS if most_bytes == inf else _SHORT_PAGE_EVENTS
    while (snapshot := await store.read(stream_id, cursor.position, limit=limit)) is not None:
        match step(cursor, snapshot):
            case Deliver(entries, following):
                for entry in entries:
                    left_bytes -= len(entry.event.value)
                    if left_bytes < 0:
                        return _assembled(snapshot.meta, content)
                    content.add(entry)
                cursor = following
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


def _assembled(meta: Meta, content: Content) -> Assembled:
    lineage = meta.lineage
    return Assembled(meta, content, lineage.event_id(content.offset) if lineage.attempt else _BEGINNING)


@dataclass(frozen=True, slots=True)
class Kept:
    """The message up to a fence, and the attempts that wrote it."""

    content: Content
    attempts: tuple[int, ...]


async def read_content(store: StreamReads, stream_id: str) -> Content:
    """The message as the log holds it now, empty without a log. Whoever is not the writer may see it change."""
    assembled = await assemble(store, stream_id)
    return assembled.content if assembled is not None else Content()


async def read_kept(store: StreamReads, stream_id: str, keep: int) -> Kept:
    """The message up to the fence of our own claim, which stands still. Raises `StoreUnavailable` if it is longer."""
    assembled = await assemble(store, stream_id)
    if assembled is None:
        return Kept(Content(), ())
    if assembled.content.offset > keep:
        raise StoreUnavailable(f"the log ends at {assembled.content.offset}, beyond its fence at {keep}")
    return Kept(assembled.content, _authors(assembled.meta))


def _authors(meta: Meta) -> tuple[int, ...]:
    """The attempts since the last one that began anew, without the one under way."""
    last = max((fence.attempt for fence in meta.fences if not fence.keep), default=1)
    return tuple(fence.attempt for fence in meta.fences if last <= fence.attempt < meta.attempt)
