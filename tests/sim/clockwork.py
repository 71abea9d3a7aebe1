"""An event loop whose time is made up: when nothing is ready it jumps to the next timer, so an hour costs nothing."""

import asyncio
from collections.abc import Sequence
from typing import Any

__all__ = ("NothingLeft", "VirtualLoop")


class NothingLeft(Exception):
    """Every task waits for something that nobody will ever do."""


class VirtualLoop(asyncio.BaseEventLoop):
    """asyncio's own loop over a selector that selects nothing. Time begins at 1,000 s and is only passed by waiting."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 1000.0
        self._clock_resolution = 1e-9
        self._selector = _NoSockets(self)

    def __repr__(self) -> str:
        return f"<VirtualLoop at {self._now:.3f} s>"

    def time(self) -> float:
        return self._now

    def pass_time(self, seconds: float) -> None:
        self._now += seconds

    def _process_events(self, event_list: Sequence[Any]) -> None:
        """There are no sockets, hence no events."""

    def _write_to_self(self) -> None:
        """Nothing ever sleeps in a selector, so nothing has to be woken."""


class _NoSockets:
    """What the loop asks when it has nothing to do."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> Sequence[Any]:
        if timeout is None:
            raise NothingLeft
        if timeout > 0:
            self._loop.pass_time(timeout)
        return ()
