"""The restarts of a crashed child: how soon, and how many."""

from collections import deque
from typing import Final

from shared.backoff import growing_s, jittered_s

__all__ = ("RestartBudget",)

_WINDOW_S: Final = 60.0
_FIRST_WAIT_S: Final = 0.5
_LONGEST_WAIT_S: Final = 8.0


class RestartBudget:
    """At most `most` restarts in any minute, each after a longer wait than the one before."""

    def __init__(self, most: int = 5) -> None:
        self._most = most
        self._crashes_s: deque[float] = deque()

    def __repr__(self) -> str:
        return f"<RestartBudget {len(self._crashes_s)} of {self._most}>"

    def wait_s(self, now_s: float) -> float | None:
        """Seconds before the restart that follows a crash at `now_s` (any clock); None when the budget is spent."""
        while self._crashes_s and self._crashes_s[0] <= now_s - _WINDOW_S:
            self._crashes_s.popleft()
        if len(self._crashes_s) >= self._most:
            return None
        longest_s = growing_s(len(self._crashes_s), first_s=_FIRST_WAIT_S, most_s=_LONGEST_WAIT_S)
        self._crashes_s.append(now_s)
        return jittered_s(longest_s)
