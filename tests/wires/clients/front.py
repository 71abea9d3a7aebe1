"""What stands between one client and the edges: it cuts connections, and sends each to the next edge."""

import asyncio
import re
import socket
import struct
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

__all__ = ("Front",)

_CHUNK_BYTES = 64 * 1024
_STREAM: Final = re.compile(rb"\r\nx-tailrace-stream: ([0-9a-f]+)\r\n", re.IGNORECASE)
_STATUS: Final = re.compile(rb"HTTP/1\.[01] (\d{3})")

Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Front:
    """A proxy. Its connections go to `ports` in turn; so many bytes of a body as `cuts` says pass, then it is cut.

    Each answer that is no refusal takes the next of the cuts, until there are none. Every other one is a reset; the
    rest end without a word, in the middle of a chunk. Whoever comes after a cut waits for `hold_s`.
    """

    def __init__(self, ports: Sequence[int], *, cuts: Sequence[int] = (), hold_s: float = 0) -> None:
        self.port = 0
        self.connections = 0
        self.cut = 0
        self.statuses: list[int] = []
        self.stream: str | None = None
        self._ports = ports
        self._cuts = list(cuts)
        self._hold_s = hold_s
        self._tasks: set[asyncio.Task[None]] = set()

    def __repr__(self) -> str:
        return f"<Front :{self.port} connections={self.connections} cut={self.cut}>"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            # Browsers open connections that they may never use; such a one takes no turn.
            if beginning := await reader.read(_CHUNK_BYTES):
                await self._ask((reader, writer), beginning)
        except (OSError, asyncio.IncompleteReadError):
            _reset(writer)
        except asyncio.CancelledError:
            # The play is over. The server that made this task would complain of a cancellation.
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _ask(self, client: Pair, beginning: bytes) -> None:
        target = self._ports[self.connections % len(self._ports)]
        self.connections += 1
        await asyncio.sleep(self._hold_s if self.cut else 0)
        server = await asyncio.open_connection("127.0.0.1", target)
        server[1].write(beginning)
        await self._pass(client, server)

    async def _pass(self, client: Pair, server: Pair) -> None:
        """Until one side is through; then the other is told no more either."""
        ways = {asyncio.ensure_future(_requests(client[0], server[1]))}
        ways.add(asyncio.ensure_future(self._replies(server[0], client[1])))
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            server[1].transport.abort()
            client[1].close()

    async def _replies(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        head = await source.readuntil(b"\r\n\r\n")
        target.write(head)
        left = self._limit(head)
        while data := await source.read(_CHUNK_BYTES):
            self._learn(data)
            if left is not None and len(data) >= left:
                await self._break_off(data[:left], target)
                return
            left = None if left is None else left - len(data)
            target.write(data)
            await target.drain()

    def _limit(self, head: bytes) -> int | None:
        """How much of the body may pass, if not all."""
        self._learn(head)
        return self._cuts.pop(0) if self._cuts and self.statuses[-1] in {101, 200} else None

    def _learn(self, data: bytes) -> None:
        self.statuses += [int(status) for status in _STATUS.findall(data)]
        if self.stream is None and (named := _STREAM.search(data)):
            self.stream = named[1].decode()

    async def _break_off(self, last: bytes, target: asyncio.StreamWriter) -> None:
        self.cut += 1
        target.write(last)
        await target.drain()
        if self.cut % 2:
            _reset(target)


async def _requests(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    while data := await source.read(_CHUNK_BYTES):
        target.write(data)
        await target.drain()


def _reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
