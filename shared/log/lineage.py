"""The attempts that wrote a stream, and the verdict on a cursor that follows from them.

Every claim leaves a fence: attempt `a` kept the first `keep` units and wrote on from there. With all fences at hand
any cursor is judged by arithmetic alone. Nothing here talks to Redis: pure decides, async does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from shared.log.position import START, EventId, Position

__all__ = ("Fence", "Lineage", "Reset", "ResetReason", "Resume")

ResetReason = Literal["new_attempt", "log_lost", "beyond_tail"]


@dataclass(frozen=True, slots=True)
class Fence:
    """Attempt number `attempt`, fenced by `nonce`, continues after the first `keep` units."""

    attempt: int
    nonce: str
    keep: int
    reason: str = "start"
    worker: str = ""


@dataclass(frozen=True, slots=True)
class Resume:
    """The cursor is good: send what comes after `offset`."""

    offset: int


@dataclass(frozen=True, slots=True)
class Reset:
    """The cursor names a log that is gone: the reader starts over from what is kept."""

    reason: ResetReason


class Lineage:
    """The fences of one stream, oldest first, and the tail of its log."""

    __slots__ = ("_fences", "tail")

    def __init__(self, fences: Iterable[Fence], tail: int) -> None:
        self._fences = sorted(fences, key=lambda fence: fence.attempt)
        self.tail = tail

    def __repr__(self) -> str:
        return f"<Lineage {len(self._fences)} attempts, tail {self.tail}>"

    @property
    def attempt(self) -> int:
        return self._fences[-1].attempt if self._fences else 0

    @property
    def beginning(self) -> int:
        """The attempt that wrote the log from its start; 0 while nobody has claimed the stream."""
        return max((fence.attempt for fence in self._fences if not fence.keep), default=0)

    @property
    def position(self) -> Position:
        """The tail as a position; `0-0` while nobody has claimed the stream."""
        return Position(self.attempt, self.tail)

    @property
    def nonces(self) -> dict[int, str]:
        """The nonce of each attempt: with it a position becomes an event id."""
        return {fence.attempt: fence.nonce for fence in self._fences}

    def judge(self, cursor: EventId) -> Resume | Reset:
        """Return whether a reader that holds everything up to `cursor` can go on from there."""
        (attempt, offset), nonce = cursor
        known = next((fence for fence in self._fences if fence.attempt == attempt), None)
        if known is None:
            return Resume(0) if (attempt, offset) == (0, 0) and nonce is None else Reset("log_lost")
        if nonce is not None and nonce != known.nonce:
            return Reset("log_lost")
        if offset > self._kept_of(attempt):
            return Reset("new_attempt")
        if offset > self.tail:
            # Who has a nonce was there when the log reached this far; who has none has only typed a number.
            return Reset("log_lost" if nonce else "beyond_tail")
        return Resume(offset)

    def has_begun_anew_since(self, attempt: int) -> bool:
        """Return whether a later attempt than this one kept nothing of what it found."""
        return self.beginning > attempt

    def event_id(self, offset: int) -> EventId:
        """The id of the place after `offset` units, in the name of the attempt that wrote the unit before it."""
        if not self._fences:
            return EventId(START, None)
        fence = self._writer_of(offset)
        return EventId(Position(fence.attempt, offset), fence.nonce)

    def _kept_of(self, attempt: int) -> float:
        """Return how many units of `attempt` every later attempt kept."""
        return min((fence.keep for fence in self._fences if fence.attempt > attempt), default=float("inf"))

    def _writer_of(self, offset: int) -> Fence:
        """The attempt whose stretch of the log holds the unit before `offset`.

        A later fence that kept less than an earlier one took that stretch away, so walk from the newest back. The start
        belongs to the attempt that began there: under a later name, what an earlier one wrote would not follow it.
        """
        for fence in reversed(self._fences):
            if fence.keep < offset or not fence.keep:
                return fence
        return self._fences[-1]
