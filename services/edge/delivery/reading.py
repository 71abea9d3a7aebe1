"""The reads of the log for readers: the events after a cursor, the message so far, and their form on a wire."""

from dataclasses import dataclass
from typing import Final

from services.edge.delivery.parcel import PAGE_BYTES, Parcel
from services.edge.wires.wire import Wire, WireState
from shared.log.events import LogEntry
from shared.log.lineage import Reset
from shared.log.message import Content
from shared.log.position import START, EventId
from shared.log.slicing import until
from shared.store.message import assemble
from shared.store.resume import Deliver, Gap, Step, step
from shared.store.state import Meta, Snapshot
from shared.store.store import StreamReads

__all__ = ("LEAST_EVENTS", "Judged", "PrefixTrimmed", "frame_again", "last_part", "message_so_far", "state_at")

# Of one read: more than a stream can have fences, so that no page is fences only.
LEAST_EVENTS: Final = 8
_PREFIX_EVENTS: Final = 256
# Of a message that starts over; what follows comes as events.
_RESET_BYTES: Final = 64 * 1024
_BEGINNING: Final = EventId(START, None)
_LONGEST_CHARACTER: Final = 4


@dataclass(frozen=True, slots=True)
class Judged:
    """A cursor and what Redis had for it. The verdict is reached once, and handed on to whoever serves it."""

    cursor: EventId
    meta: Meta
    verdict: Step

    @classmethod
    def of(cls, cursor: EventId, snapshot: Snapshot) -> "Judged":
        """The verdict on a snapshot that was read from the cursor's position on."""
        return cls(cursor, snapshot.meta, step(cursor, snapshot, max_bytes=PAGE_BYTES))


class PrefixTrimmed(Exception):
    """The log before a cursor is not whole any more: it begins at `to`."""

    def __init__(self, to: EventId) -> None:
        super().__init__(f"trimmed up to {to}")
        self.to = to


async def state_at(store: StreamReads, stream_id: str, end: EventId, wire: Wire) -> WireState:
    """The state of a wire at a cursor that has been judged. Raises `PrefixTrimmed` or `StoreError`.

    Reads the log from its start, and keeps nothing of it but the state. If the log changes meanwhile this is whatever
    was read: the cursor is judged again before anything is framed.
    """
    cursor, state = _BEGINNING, None
    while (snapshot := await store.read(stream_id, cursor.position, limit=_PREFIX_EVENTS)) is not None:
        if state is None:
            state = wire.begin(snapshot.meta)
        match step(cursor, snapshot) if cursor.position.offset < end.position.offset else None:
            case Deliver(entries, following):
                state = wire.after(
                    state, [_up_to(end, entry) for entry in entries if entry.start < end.position.offset]
                )
                cursor = following
            case Gap(to):
                raise PrefixTrimmed(to)
            case _:
                break
    return state


def _up_to(end: EventId, entry: LogEntry) -> LogEntry:
    return until(entry, end.position) if entry.position.offset > end.position.offset else entry


async def last_part(store: StreamReads, meta: Meta, units: int, *, limit: int) -> Judged | None:
    """Return the place of a reader that wants no more than the last `units`; None if it is to begin at the start.

    An offset inside a character is no place: its reader begins after the character. Raises `StoreError`.
    """
    offset, judged = meta.tail - units, None
    if offset <= meta.trimmed:
        return None
    for nudge in range(_LONGEST_CHARACTER):
        cursor = meta.lineage.event_id(offset + nudge)
        snapshot = await store.read(meta.id, cursor.position, limit=limit)
        if snapshot is None:
            return None
        judged = Judged.of(cursor, snapshot)
        if not isinstance(judged.verdict, Reset):
            break
    return judged


async def message_so_far(store: StreamReads, stream_id: str) -> tuple[Content, EventId] | None:
    """Return the message for a reader that starts over (of a long one its beginning), and the cursor to go on from.

    Of a message that has lost its beginning that is nothing: from the start on it is told the gap, then the rest.
    """
    whole = await assemble(store, stream_id, most_bytes=_RESET_BYTES)
    if whole is None:
        return None
    return (Content(), _BEGINNING) if whole.meta.trimmed else (whole.content, whole.cursor)


async def frame_again(store: StreamReads, stream_id: str, wire: Wire, parcel: Parcel) -> bytes | None:
    """The one frame that a parcel held; None if the log does not hold its event any more. Raises `StoreError`."""
    snapshot = await store.read(stream_id, parcel.start.position, limit=LEAST_EVENTS)
    match step(parcel.start, snapshot) if snapshot is not None else None:
        case Deliver(entries) if entries[0].position.offset >= parcel.end.position.offset:
            return wire.frame(str(parcel.end), until(entries[0], parcel.end.position), parcel.state)
    return None
