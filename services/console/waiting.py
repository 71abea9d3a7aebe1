"""A line on a terminal that says what is waited for, and for how long; gone as soon as there is something to print."""

import asyncio
import sys
import time
from collections.abc import Awaitable, Coroutine
from typing import Any, Final, TypeVar

__all__ = ("WaitingLine", "accompanied")

T = TypeVar("T")

_FRAMES: Final = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAME_S: Final = 0.1
# What is there at once needs no indicator: it would only flicker.
_SHOWN_AFTER_S: Final = 0.3
_ERASE: Final = "\r\x1b[K"


class WaitingLine:
    """Drawn on standard error, and only where that is a terminal."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.is_over = False
        self._is_drawn = False

    def end(self) -> None:
        """Take the line away for good, before anything is printed in its place."""
        self.is_over = True
        self.clear()

    def clear(self) -> None:
        """Take the line away; it is drawn again below what is printed now."""
        if self._is_drawn:
            _write(_ERASE)
            self._is_drawn = False

    async def draw(self) -> None:
        """Keep the line up to date until `end` is called."""
        if not sys.stderr.isatty():
            return
        began_s, frame = time.monotonic(), 0
        await asyncio.sleep(_SHOWN_AFTER_S)
        while not self.is_over:
            waited_s = time.monotonic() - began_s
            _write(f"{_ERASE}{_FRAMES[frame % len(_FRAMES)]} {self.what}… {waited_s:.0f} s")
            self._is_drawn = True
            frame += 1
            await asyncio.sleep(_FRAME_S)


async def accompanied(work: Awaitable[T], companion: Coroutine[Any, Any, None]) -> T:
    """Return or raise what `work` does; the companion runs beside it and ends with it."""
    async with asyncio.TaskGroup() as tasks:
        beside = tasks.create_task(companion)
        try:
            return await work
        except Exception as error:  # noqa: BLE001  # raised below: out of the group it would come wrapped
            failure = error
        finally:
            beside.cancel()
    raise failure


def _write(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
