"""Sequence numbers: a position of the log and a phase at it, in one integer that JavaScript can hold.

The number is all that a client of this API gives back. It is made of the log alone, so every edge counts alike, and a
number leads back to its place without a look at what was told before.
"""

from typing import Final, NamedTuple

from shared.log.position import Position

__all__ = ("CREATED", "FIRST_PHASE", "IN_PROGRESS", "LAST_NUMBER", "Place", "number_of", "place_of", "taken_back")

_PHASE_BITS: Final = 5
_ATTEMPT_BITS: Final = 44
# Before an attempt's own numbers: of what is told to those who have read another one.
_TAKEN_BACK: Final = 1024

# The first two frames of a response, before any event of the log.
CREATED: Final = 0
IN_PROGRESS: Final = 1
# Phase 0 is the piece that ends at a position; before the next piece come these.
FIRST_PHASE: Final = 2
LAST_NUMBER: Final = (1 << 53) - 1


class Place(NamedTuple):
    """Everything up to `position` was told, and of what follows it the frames before `phase` and at it."""

    position: Position
    phase: int


def number_of(attempt: int, offset: int, phase: int = 0) -> int:
    """Return the number of a frame at a position. Frames at one position are told in the order of their phases."""
    return ((attempt - 1) << _ATTEMPT_BITS) + (offset << _PHASE_BITS) + phase


def place_of(number: int) -> Place:
    """The place that a number names."""
    within = number & ((1 << _ATTEMPT_BITS) - 1)
    position = Position((number >> _ATTEMPT_BITS) + 1, within >> _PHASE_BITS)
    return Place(position, within & ((1 << _PHASE_BITS) - 1))


def taken_back(attempt: int, which: int) -> int:
    """Return the number of a frame that takes back an item, told before all that `attempt` says."""
    return number_of(attempt, 0) - _TAKEN_BACK + min(which, _TAKEN_BACK - 1)
