"""What a reader of the log ends up with, put together independently of the edge's own assembly."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from shared.log.events import DELTA_KINDS, Event
from shared.log.position import START, EventId
from shared.store.resume import Deliver, Gap, UpToDate, step
from shared.store.store import Store

__all__ = ("BEGINNING", "Told", "spoken", "tell", "units")

BEGINNING = EventId(START, None)

# One piece of a message: kind, index of the tool call, and what was said.
Piece = tuple[str, int, str]


@dataclass
class Told:
    """`pieces` as `spoken` has them; `events` is how many it took, `gaps` from where to where the reader was sent."""

    pieces: list[Piece] = field(default_factory=list)
    events: int = 0
    pages: int = 0
    gaps: list[tuple[int, int]] = field(default_factory=list)
    cursor: EventId = BEGINNING


async def tell(store: Store, stream_id: str, cursor: EventId = BEGINNING, *, limit: int = 128) -> Told:
    """Read from a cursor to the tail as a reader of an edge does. A cursor that is not good fails the test."""
    told = Told(cursor=cursor)
    events: list[Event] = []
    while True:
        snapshot = await store.read(stream_id, told.cursor.position, limit=limit)
        assert snapshot is not None
        told.pages += 1
        match step(told.cursor, snapshot):
            case Deliver(entries, cursor):
                events += [entry.event for entry in entries]
                told.cursor = cursor
            case Gap(to):
                told.gaps.append((told.cursor.position.offset, to.position.offset))
                told.cursor = to
            case UpToDate():
                told.events = len(events)
                told.pieces = spoken(events)
                return told
            case other:
                raise AssertionError(f"a reader at {told.cursor} is answered {other}")


def spoken(events: Sequence[Event], *, after: int = 0) -> list[Piece]:
    """What a reader that holds the first `after` units has yet to hear; adjacent pieces of one part are one."""
    pieces: list[Piece] = []
    offset = 0
    for event in events:
        offset += event.size
        held = max(0, after - (offset - event.size))
        if held >= event.size:
            continue
        piece = _piece(event, held)
        if pieces and pieces[-1][:2] == piece[:2] and _continues(event, held):
            piece = (*piece[:2], pieces.pop()[2] + piece[2])
        pieces.append(piece)
    return pieces


def units(events: Sequence[Event]) -> int:
    return sum(event.size for event in events)


def _piece(event: Event, held: int) -> Piece:
    if event.kind in DELTA_KINDS:
        return event.kind, 0, event.value[held:].decode()
    if event.kind != "tool_call":
        return event.kind, 0, event.value.decode()
    fields: dict[str, Any] = event.fields()
    opening = f"<{fields['id']}|{fields['name']}>" if "id" in fields and not held else ""
    arguments = fields["arguments_delta"].encode()[max(0, held - ("id" in fields)) :].decode()
    return "tool_call", fields["index"], opening + arguments


def _continues(event: Event, held: int) -> bool:
    return event.kind in DELTA_KINDS or (event.kind == "tool_call" and ("id" not in event.fields() or held > 0))
