"""A limit on large things under way: they are in no sum yet, and together can be more than all that is."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from services.edge.access.admission import come_again
from shared.errors import MemoryPressure

__all__ = ("ByteLimiter",)

# Longer than Redis may take for a large create.
_WAIT_MOST_S: Final = 10.0


class ByteLimiter:
    """Lets `most_bytes` through at a time, first come, first served. What is larger than that goes alone."""

    def __init__(
        self,
        most_bytes: int,
        *,
        refusal: Callable[[], MemoryPressure] = come_again,
        wait_most_s: float = _WAIT_MOST_S,
    ) -> None:
        self._most_bytes = most_bytes
        self._refusal = refusal
        self._wait_most_s = wait_most_s
        self._taken_bytes = 0
        self._line = asyncio.Lock()
        self._left = asyncio.Event()

    def __repr__(self) -> str:
        return f"<ByteLimiter {self._taken_bytes} of {self._most_bytes} bytes>"

    @asynccontextmanager
    async def taken(self, wanted_bytes: int) -> AsyncIterator[None]:
        """Hold `wanted_bytes`, in order of arrival. Raises `MemoryPressure` when the wait takes too long."""
        try:
            async with asyncio.timeout(self._wait_most_s), self._line:
                await self._room_for(wanted_bytes)
        except TimeoutError:
            raise self._refusal() from None
        self._taken_bytes += wanted_bytes
        try:
            yield
        finally:
            self._taken_bytes -= wanted_bytes
            self._left.set()

    async def _room_for(self, wanted_bytes: int) -> None:
        while self._taken_bytes and self._taken_bytes + wanted_bytes > self._most_bytes:
            self._left.clear()
            await self._left.wait()
