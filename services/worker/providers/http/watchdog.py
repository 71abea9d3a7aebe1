"""A deadline for many short waits, at the price of one timer.

`asyncio.timeout` around each read arms and cancels a timer a chunk. Here the timer is left alone while the deadline
moves on; when it fires too early it arms itself again.
"""

import asyncio
from collections.abc import Callable
from math import inf

__all__ = ("Watchdog",)


class Watchdog:
    """Calls `expired` once a watched wait has lasted beyond its deadline (seconds of the loop's clock).

    To move `deadline` on, assign it.
    """

    __slots__ = ("_due", "_expired", "_loop", "_timer", "deadline")

    def __init__(self, expired: Callable[[], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._expired = expired
        self.deadline = inf
        self._due = inf
        self._timer: asyncio.TimerHandle | None = None

    def watch(self, deadline: float) -> None:
        """A wait begins."""
        self.deadline = deadline
        if deadline < self._due:
            self._arm(deadline)

    def rest(self) -> None:
        """The wait is over."""
        self.deadline = inf

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = None, -inf

    def _arm(self, due: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = self._loop.call_at(due, self._check), due

    def _check(self) -> None:
        self._timer, self._due = None, inf
        if self.deadline == inf:
            return
        if self._loop.time() < self.deadline:
            self._arm(self.deadline)
            return
        self._expired()
