"""Cutting an event for a reader that already holds the first part of it.

Offsets count bytes, so an event cut anywhere by an old cursor has an exact remainder: this is what makes merging
events harmless to every cursor that was ever given out.
"""

from shared.log.events import DELTA_KINDS, Event, LogEntry, tool_call
from shared.log.position import Position

__all__ = ("InsideCharacter", "after", "is_inside_character", "until")


class InsideCharacter(ValueError):
    """The cursor points into the middle of a character, where no event has ever ended."""


def after(entry: LogEntry, offset: int) -> LogEntry | None:
    """The rest of `entry` beyond `offset` units; None if the reader holds all of it."""
    if offset <= entry.start:
        return entry
    if offset >= entry.position.offset:
        return None
    return LogEntry(entry.position, _rest(entry.event, offset - entry.start))


def is_inside_character(entry: LogEntry, offset: int) -> bool:
    """Return whether an offset points into the middle of a character of this event."""
    if not entry.start < offset < entry.position.offset:
        return False
    try:
        _rest(entry.event, offset - entry.start)
    except InsideCharacter:
        return True
    return False


def until(entry: LogEntry, end: Position) -> LogEntry:
    """The beginning of `entry` up to `end`, an earlier end of it: what it was before more was folded into it."""
    if entry.position.offset == end.offset:
        return LogEntry(end, entry.event)
    return LogEntry(end, _beginning(entry.event, end.offset - entry.start))


def _beginning(event: Event, size: int) -> Event:
    """The first `size` units of a delta or of a tool call."""
    if event.kind in DELTA_KINDS:
        return Event(event.kind, event.value[:size], size)
    fields = event.fields()
    arguments = fields["arguments_delta"].encode()[: size - ("id" in fields)]
    opening = {"call_id": fields.get("id"), "name": fields.get("name"), "provider_data": fields.get("provider_data")}
    return tool_call(fields["index"], arguments.decode(), **opening)


def _rest(event: Event, held: int) -> Event:
    """The event without its first `held` units. Only deltas and tool calls are larger than one unit."""
    if event.kind in DELTA_KINDS:
        return Event(event.kind, _tail(event.value, held), event.size - held)
    fields = event.fields()
    # The opening of a call is its first unit; who holds that has been told id, name and provider data.
    arguments = _tail(fields["arguments_delta"].encode(), held - ("id" in fields))
    return tool_call(fields["index"], arguments.decode())


def _tail(value: bytes, held: int) -> bytes:
    rest = value[held:]
    if rest and rest[0] & 0xC0 == 0x80:
        raise InsideCharacter
    return rest
