"""The cancel channel in memory."""

import asyncio

from shared.memory_streams import MemoryStreams

__all__ = ("MemoryCancelListener",)


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
