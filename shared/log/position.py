"""Positions in a stream, and the event ids that name them on the wire.

A position is `(attempt, offset)`; the offset counts units up to and including an event, as a TCP sequence number
counts bytes. It is the Redis entry id, verbatim. An event id adds the nonce of the attempt, because after a lost
failover two claimants can share an attempt number but never a nonce.
"""

import re
from typing import NamedTuple, Self

from shared.errors import InvalidCursor

__all__ = ("MAX_EVENT_ID_CHARS", "NONCE_CHARS", "START", "EventId", "Position")

MAX_EVENT_ID_CHARS = 64
NONCE_CHARS = 8

# JavaScript readers hold offsets in doubles, and so does Lua.
_MAX_INTEGER = 2**53 - 1
# `[0-9]`, not `\d`: Python's `\d` takes every Unicode digit, and the id is untrusted input.
_EVENT_ID = re.compile(r"([0-9]{1,16})-([0-9]{1,16})(?:\.([0-9a-f]{8}))?")


class Position(NamedTuple):
    """A place between two events: everything up to `offset` units, as attempt number `attempt` wrote it."""

    attempt: int
    offset: int

    def __str__(self) -> str:
        return f"{self.attempt}-{self.offset}"

    @classmethod
    def parse(cls, entry_id: bytes) -> Self:
        """The position behind a Redis entry id such as `b"1-345"`. Trusted input only."""
        attempt, _, offset = entry_id.partition(b"-")
        return cls(int(attempt), int(offset))


START = Position(0, 0)


class EventId(NamedTuple):
    """A cursor: a position and the nonce of its attempt. Without a nonce it was typed by a person."""

    position: Position
    nonce: str | None

    def __str__(self) -> str:
        return f"{self.position}.{self.nonce}" if self.nonce else str(self.position)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The cursor in `Last-Event-ID`. Untrusted: anything but the one form is refused with `InvalidCursor`."""
        match = _EVENT_ID.fullmatch(text) if len(text) <= MAX_EVENT_ID_CHARS else None
        if match is None:
            raise InvalidCursor
        attempt, offset = int(match[1]), int(match[2])
        if attempt > _MAX_INTEGER or offset > _MAX_INTEGER:
            raise InvalidCursor
        return cls(Position(attempt, offset), match[3])
