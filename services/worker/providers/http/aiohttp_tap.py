"""The bytes of a response at the moment they come in, without waking a task for each chunk.

aiohttp hands out a body through a future a read: a future, an iteration of the loop, and a walk down the coroutines of
a job for every chunk, and with each read it asks its parser and its transport to go on that were never told to stop. A
tap stands in the place of that future and is called instead; most of what comes does not even go that way (`Shortcut`).
This module is the only one that knows aiohttp's reader from inside, as it is in 3.14; every test of a provider that
answers in more than one piece notices when it is no longer like that.
"""

import asyncio
import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, Self, cast

import aiohttp

__all__ = ("Shortcut", "Take", "Tap", "body_of", "unread")

_CRLF: Final = b"\r\n"

# Extensions, the last chunk (of size 0) and anything odd are left to aiohttp.
_SIZE = re.compile(rb"([1-9a-fA-F][0-9a-fA-F]{0,5})\r\n")


class Shortcut(asyncio.Protocol):
    """Stands before aiohttp's protocol on a connection that is in the middle of a chunked body."""

    __slots__ = ("_behind", "_hear", "_is_between_chunks", "_passed_first", "_transport")

    def __init__(self, transport: asyncio.Transport, behind: asyncio.Protocol) -> None:
        self._transport = transport
        self._behind = behind
        self._hear: Callable[[bytes], None] | None = None
        self._passed_first: bytes | None = None
        self._is_between_chunks = False

    @classmethod
    def of(cls, response: aiohttp.ClientResponse) -> Self | None:
        """The shortcut of a response; None where its body is not plain chunks, or has come already."""
        connection, headers = response.connection, response.headers
        is_plain = headers.get("Transfer-Encoding", "").lower() == "chunked" and "Content-Encoding" not in headers
        if not is_plain or connection is None or connection.transport is None:
            return None
        return cls(connection.transport, cast("asyncio.Protocol", connection.protocol))

    def listen(self, hear: Callable[[bytes], None]) -> None:
        """From now on `hear` gets what comes, unless it goes through aiohttp."""
        self._hear, self._is_between_chunks = hear, False
        self._transport.set_protocol(self)

    def leave(self) -> None:
        """From now on everything goes to aiohttp. May be repeated."""
        if self._hear is not None:
            self._hear = None
            self._transport.set_protocol(self._behind)

    def passed(self, data: bytes) -> None:
        """Note the first bytes that went through aiohttp while it had the last bytes from here."""
        if self._passed_first is None:
            self._passed_first = data

    def data_received(self, data: bytes) -> None:
        body, hear = body_of(data), self._hear
        if body is not None and self._is_between_chunks and hear is not None:
            hear(body)
            return
        self._passed_first = None
        self._behind.data_received(data)
        self._is_between_chunks = body is not None and _began_with(self._passed_first, data)

    def eof_received(self) -> bool | None:
        return self._behind.eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._behind.connection_lost(exc)

    def pause_writing(self) -> None:
        self._behind.pause_writing()

    def resume_writing(self) -> None:
        self._behind.resume_writing()


def _began_with(text: bytes | None, data: bytes) -> bool:
    """Return whether aiohttp, which took `text` first of these whole chunks, was between two chunks when they came.

    Inside of one it would have taken a frame for text, so `data` would begin with `text`. It is not enough that text
    and bodies are the same on the whole: they can be, and the last chunk still wait for its end.
    """
    line = _SIZE.match(data)
    if line is None or text is None:
        return False
    return data[line.end() : line.end() + int(line[1], 16)] == text and not data.startswith(text)


def body_of(data: bytes) -> bytes | None:
    """Return the content of whole chunks, None if this is anything else, or more."""
    size_line = _size_line(len(data))
    if data.startswith(size_line) and data.endswith(_CRLF):
        return data[len(size_line) : -2]
    return _body_of_several(data)


@lru_cache(maxsize=1024)
def _size_line(length: int) -> bytes:
    """Return the beginning of the one chunk that is this long with its frame."""
    for digits in range(1, 7):
        size = length - digits - 4
        if size > 0 and len(line := b"%x\r\n" % size) == digits + 2:
            return line
    return bytes(length + 1)  # no chunk is this long, and nothing begins with what is longer


def _body_of_several(data: bytes) -> bytes | None:
    parts: list[bytes] = []
    start = 0
    while start < len(data):
        line = _SIZE.match(data, start)
        if line is None:
            return None
        end = line.end() + int(line[1], 16)
        if data[end : end + 2] != _CRLF:
            return None
        parts.append(data[line.end() : end])
        start = end + 2
    return b"".join(parts) if parts else None


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


def unread(content: aiohttp.StreamReader) -> bytes:
    """Return the bytes that came before a failure. aiohttp raises before it hands them out, so tokens would be lost."""
    return content._read_nowait(-1)
