"""Reading the tails of streams in memory."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from shared.log.events import LogEntry
from shared.log.position import Position
from shared.store.memory.streams import MemoryStreams

__all__ = ("MemoryCancelListener", "MemoryTailer", "Sleep")

Sleep = Callable[[float], Awaitable[None]]


class MemoryTailer:
    """`Tailer` on `MemoryStreams`. Like XREAD it is deaf to what is at or below a cursor, and to what vanishes."""

    def __init__(self, streams: MemoryStreams, sleep: Sleep) -> None:
        self._streams = streams
        self._sleep = sleep
        self._waiting: asyncio.Future[None] | None = None
        self._is_over = False

    def __repr__(self) -> str:
        return f"<MemoryTailer {'reading' if self._waiting else 'open'}>"

    async def read(
        self, cursors: Mapping[str, Position], *, count: int, block_ms: int | None
    ) -> Mapping[str, Sequence[LogEntry]]:
        news = self._streams.news(cursors, count=count)
        if news or not cursors or not block_ms:
            return news
        self._is_over = False
        self._streams.listen(self._wake)
        try:
            async with asyncio.TaskGroup() as group:
                timer = group.create_task(self._end_after(block_ms / 1000))
                while not news and not self._is_over:
                    await self._wait()
                    news = self._streams.news(cursors, count=count)
                timer.cancel()
        finally:
            self._streams.ignore(self._wake)
        return news

    async def interrupt(self) -> None:
        self._end()

    async def aclose(self) -> None:
        self._end()

    async def _wait(self) -> None:
        """Until something was written, time is up, or somebody interrupts."""
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None

    async def _end_after(self, delay_s: float) -> None:
        await self._sleep(delay_s)
        self._end()

    def _end(self) -> None:
        self._is_over = True
        self._wake()

    def _wake(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)


class MemoryCancelListener:
    """`CancelListener` on `MemoryStreams`. Hears from the first `next` on; a stream asked twice is named once."""

    def __init__(self, streams: MemoryStreams) -> None:
        self._streams = streams
        self._waiting: dict[str, None] = {}
        self._arrived = asyncio.Event()

    def __repr__(self) -> str:
        return f"<MemoryCancelListener {len(self._waiting)} waiting>"

    async def next(self) -> str:
        self._streams.hear_cancels(self._hear)
        while not self._waiting:
            self._arrived.clear()
            await self._arrived.wait()
        stream_id = next(iter(self._waiting))
        del self._waiting[stream_id]
        return stream_id

    async def aclose(self) -> None:
        self._streams.ignore_cancels(self._hear)

    def _hear(self, stream_id: str) -> None:
        self._waiting[stream_id] = None
        self._arrived.set()
