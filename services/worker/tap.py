"""The bytes of a response at the moment they come in, without waking a task for each chunk.

aiohttp hands out a body through a future a read: a future, a turn of the loop, and a walk down the coroutines of a job
for every chunk, and with each read it asks its parser and its transport to go on that were never told to stop. A tap
stands in the place of that future and is called instead; most of what comes does not even go that way (`shortcut.py`).
This file is the only one that knows aiohttp's reader from inside; every test of a provider that answers in more than
one piece notices when it is no longer like that.
"""

import asyncio
from collections.abc import Callable

import aiohttp

from services.worker.shortcut import Shortcut

__all__ = ("Take", "Tap")

# Gets some bytes; answers whether it wants more.
Take = Callable[[bytes], bool]


class Tap:
    """Gives `take` what comes in until it has enough, or the body ends or fails, which the next read tells."""

    __slots__ = ("_content", "_over", "_shortcut", "_take", "done")

    def __init__(self, content: aiohttp.StreamReader, take: Take, shortcut: Shortcut | None) -> None:
        self._content = content
        self._take = take
        self._shortcut = shortcut
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.done = self._over.done

    async def run(self) -> None:
        """Returns at once if there is something to read already."""
        content = self._content
        if content._buffer or content.is_eof() or content.exception() is not None:
            return
        self._listen()
        if self._shortcut is not None:
            self._shortcut.listen(self._hear)
        try:
            await self._over
        finally:
            self._leave()
            content._waiter = None

    def _listen(self) -> None:
        self._content._waiter = self  # type: ignore[assignment]

    def set_result(self, _result: None) -> None:
        """Called by the reader: there is something, or a chunk of HTTP is over, or the body is."""
        content = self._content
        if self.done():
            return
        if content._buffer:
            data = _taken(content)
            if self._shortcut is not None:
                self._shortcut.passed(data)
            self._hear(data)
        elif content.is_eof():
            self._end()
        if not self.done():
            self._listen()

    def set_exception(self, _error: BaseException) -> None:
        """Called by the reader: the body has failed. The reader keeps the failure for whoever reads next."""
        if not self.done():
            self._end()

    def _hear(self, data: bytes) -> None:
        try:
            wants_more = self._take(data)
        except Exception as error:  # noqa: BLE001 - a parser or a transport is below us; whoever waits gets it
            self._leave()
            if not self.done():
                self._over.set_exception(error)
            return
        if not wants_more:
            self._end()

    def _end(self) -> None:
        self._leave()
        # Cancelled, it still hears what comes before its task has a turn to leave.
        if not self.done():
            self._over.set_result(None)

    def _leave(self) -> None:
        """At once: what comes next is for the next read."""
        if self._shortcut is not None:
            self._shortcut.leave()


def _taken(content: aiohttp.StreamReader) -> bytes:
    """All that is there: one piece, as each is taken when it comes. The reader was not told to stop by so little."""
    data = content._buffer.popleft()
    content._size -= len(data)
    content._cursor += len(data)
    if content._http_chunk_splits:
        content._http_chunk_splits.clear()
    return data
