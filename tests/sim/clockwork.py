"""An event loop whose time is made up: when nothing is ready it jumps to the next timer, so an hour costs nothing."""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from contextvars import Context
from typing import TypeVarTuple, Unpack

__all__ = ("Endless", "NothingLeft", "VirtualLoop")


_Ts = TypeVarTuple("_Ts")


class NothingLeft(Exception):
    """Every task waits for something that nobody will ever do."""


class Endless(Exception):
    """Something goes on and on, long after it should have come to its end."""


class VirtualLoop(asyncio.BaseEventLoop):
    """asyncio's own loop without a selector. Time begins at 1,000 s and is only passed by waiting.

    Timers are tuples rather than handles that compare themselves, and no selector is asked: 105 to 120 schedules a
    second of CPU instead of 91. `most_s` and `most_steps` bound one run: a schedule that never ends must be a finding,
    not a process that hangs.
    """

    _ready: deque[asyncio.Handle]

    def __init__(self, *, most_s: float = float("inf"), most_steps: float = float("inf")) -> None:
        super().__init__()
        self.steps = 0
        self._now = 1000.0
        self._until = self._now + most_s
        self._most_steps = most_steps
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._timer_count = 0

    def __repr__(self) -> str:
        return f"<VirtualLoop at {self._now:.3f} s>"

    def time(self) -> float:
        return self._now

    def call_soon(
        self, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_at(
        self, when: float, callback: Callable[[Unpack[_Ts]], object], *args: *_Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        handle = asyncio.TimerHandle(when, callback, args, self, context)
        self._timer_count += 1
        heapq.heappush(self._timers, (when, self._timer_count, handle))
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[[Unpack[_Ts]], object],
        *args: *_Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def _run_once(self) -> None:
        """One turn: what is due becomes ready, then what is ready runs, but nothing that becomes ready meanwhile."""
        ready, timers = self._ready, self._timers
        if not ready:
            self._jump()
        self.steps += 1
        if self._now > self._until or self.steps > self._most_steps:
            raise Endless(f"at {self._now:.3f} s after {self.steps} steps")
        while timers and timers[0][0] <= self._now:
            ready.append(heapq.heappop(timers)[2])
        for _ in range(len(ready)):
            handle = ready.popleft()
            if not handle._cancelled:
                handle._run()

    def _jump(self) -> None:
        """To the next timer that somebody still waits for."""
        timers = self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not timers:
            raise NothingLeft
        self._now = max(self._now, timers[0][0])

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        """A cancelled timer stays in its place until its time has come."""

    def _process_events(self, event_list: object) -> None:
        """There are no sockets, hence no events."""

    def _write_to_self(self) -> None:
        """Nothing ever sleeps in a selector, so nothing has to be woken."""
