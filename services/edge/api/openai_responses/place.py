"""The place in a stream that a client names with the number of the last event it saw."""

from typing import Final, NamedTuple

from services.edge.wires.openai_responses.numbers import IN_PROGRESS, LAST_NUMBER, number_of, place_of
from shared.errors import InvalidRequest
from shared.log.lineage import Reset
from shared.log.position import EventId
from shared.store.state import Meta

__all__ = ("Resumption", "resumption")

_MAX_DIGITS: Final = len(str(LAST_NUMBER))
# The frames after the last event have numbers of their own, and no events that bound them.
_LAST_FRAMES: Final = 1 << 20


class Resumption(NamedTuple):
    """The cursor to go on from, none for the start, and the number up to which frames were told."""

    cursor: str | None
    told: int | None


def resumption(text: str | None, meta: Meta) -> Resumption:
    """Return where a client goes on. Raises `InvalidRequest` for a number that no event of this stream can have had."""
    if text is None:
        return Resumption(None, None)
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        raise _refusal("starting_after is the sequence_number of an event.")
    number = int(text)
    if number <= IN_PROGRESS:
        return Resumption(None, number)
    cursor = EventId(place_of(number).position, None)
    lineage = meta.lineage
    verdict = lineage.judge(cursor)
    if isinstance(verdict, Reset) and verdict.reason != "new_attempt":
        if not meta.is_over or not 0 <= number - number_of(*_end(meta)) < _LAST_FRAMES:
            raise _refusal("starting_after: no event of this response has had this sequence_number.")
        cursor = lineage.event_id(meta.tail)
    return Resumption(str(cursor), number)


def _end(meta: Meta) -> tuple[int, int]:
    return meta.lineage.event_id(meta.tail).position


def _refusal(message: str) -> InvalidRequest:
    return InvalidRequest(message, param="starting_after")
