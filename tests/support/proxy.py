"""A TCP proxy for one pair of processes, with every fault a network has; each can be switched on and off at run time.

One for each pair, so that a fault can strike one worker and spare its neighbour.
"""

import asyncio
import contextlib
import random
import socket
import struct
from collections.abc import AsyncIterator, Callable
from types import TracebackType
from typing import Self

__all__ = ("Proxy", "SentinelFront", "proxied")

_CHUNK_BYTES = 64 * 1024


class Proxy:
    """Passes bytes on. The attributes below are faults; `took` counts what each has done.

    `delay_s` (up to `jitter_s` more) holds each piece up; `bytes_per_s` is a thin line. `lose_replies` many replies are
    swallowed after their request got through, and their connection is reset. After `reset_after_bytes` more bytes of
    requests the connection that brought them is reset. While `is_blackholed` nothing arrives anywhere, and nobody is
    told; afterwards everything does, as TCP has it. While `is_refusing` nobody can connect.
    """

    def __init__(self, target_port: int, *, chance: random.Random | None = None) -> None:
        self.target_port = target_port
        self.port = 0
        self.delay_s = self.jitter_s = self.bytes_per_s = 0.0
        self.lose_replies = 0
        self.reset_after_bytes: int | None = None
        self.is_refusing = False
        self.took = {"delayed": 0, "lost": 0, "reset": 0, "held": 0, "refused": 0}
        self._chance = chance or random.Random(target_port)
        self._server: asyncio.Server | None = None
        self._open = asyncio.Event()
        self._open.set()
        self._pairs: set[_Pair] = set()

    def __repr__(self) -> str:
        return f"<Proxy :{self.port} to :{self.target_port} connections={len(self._pairs)}>"

    @property
    def is_blackholed(self) -> bool:
        return not self._open.is_set()

    @property
    def connections(self) -> int:
        return len(self._pairs)

    def blackhole(self) -> None:
        self._open.clear()

    def reset_all(self) -> int:
        """RST to both sides of every connection. Answers how many there were."""
        pairs = list(self._pairs)
        for pair in pairs:
            pair.reset()
        return len(pairs)

    def lift(self) -> None:
        """All faults end."""
        self.delay_s = self.jitter_s = self.bytes_per_s = 0.0
        self.lose_replies, self.reset_after_bytes, self.is_refusing = 0, None, False
        self._open.set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, backlog=1024)
        self.port = self._server.sockets[0].getsockname()[1]

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.close()
        self.lift()
        self.reset_all()
        while self._pairs:
            await asyncio.wait([pair.task for pair in self._pairs])

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # What passes

    def changed(self, reply: bytes) -> bytes:
        """A reply as the client is to see it."""
        return reply

    async def hold_up(self, size: int) -> None:
        """Let a piece take as long as the faults say."""
        pause_s = self.delay_s + self.jitter_s * self._chance.random()
        if self.bytes_per_s:
            pause_s += size / self.bytes_per_s
        if pause_s:
            self.took["delayed"] += 1
            await asyncio.sleep(pause_s)
        if self.is_blackholed:
            self.took["held"] += 1
            await self._open.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.is_refusing:
            self.took["refused"] += 1
            _reset(writer)
            return
        try:
            await self._open.wait()
            upstream = await asyncio.open_connection("127.0.0.1", self.target_port)
        except OSError:
            _reset(writer)
            return
        pair = _Pair(self, (reader, writer), upstream)
        self._pairs.add(pair)
        try:
            await pair.run()
        finally:
            self._pairs.discard(pair)


class SentinelFront(Proxy):
    """In front of a Sentinel, for one process: it names the ports of that process's proxies instead of the nodes'."""

    def __init__(self, target_port: int, ports: Callable[[], dict[int, int]]) -> None:
        super().__init__(target_port)
        self._ports = ports

    def changed(self, reply: bytes) -> bytes:
        for real, shown in self._ports().items():
            reply = reply.replace(_bulk(real), _bulk(shown))
        return reply


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Pair:
    """Two connections, one to each side."""

    def __init__(self, proxy: Proxy, client: Stream, server: Stream) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self.task: asyncio.Task[None]

    async def run(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.task = task
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._requests())
                group.create_task(self._replies())
        except* (OSError, _Over):
            self.reset()

    def reset(self) -> None:
        _reset(self._client[1])
        _reset(self._server[1])

    async def _requests(self) -> None:
        proxy, (reader, _), (_, writer) = self._proxy, self._client, self._server
        while data := await reader.read(_CHUNK_BYTES):
            await proxy.hold_up(len(data))
            if proxy.reset_after_bytes is not None:
                proxy.reset_after_bytes -= len(data)
                if proxy.reset_after_bytes <= 0:
                    await self._break_off(data[: len(data) + proxy.reset_after_bytes])
            writer.write(data)
            await writer.drain()
        raise _Over

    async def _replies(self) -> None:
        proxy, (reader, _), (_, writer) = self._proxy, self._server, self._client
        while data := await reader.read(_CHUNK_BYTES):
            if proxy.lose_replies > 0:
                proxy.lose_replies -= 1
                proxy.took["lost"] += 1
                raise _Over
            await proxy.hold_up(len(data))
            writer.write(proxy.changed(data))
            await writer.drain()
        raise _Over

    async def _break_off(self, beginning: bytes) -> None:
        """Let the server have the beginning of a request, and nothing more."""
        self._proxy.reset_after_bytes = None
        self._proxy.took["reset"] += 1
        writer = self._server[1]
        writer.write(beginning)
        await writer.drain()
        raise _Over


class _Over(Exception):
    """One side is through, so the other is cut."""


@contextlib.asynccontextmanager
async def proxied(target_port: int) -> AsyncIterator[Proxy]:
    """A proxy in front of a port of this machine."""
    async with Proxy(target_port) as proxy:
        yield proxy


def _bulk(port: int) -> bytes:
    """A port as Redis sends it."""
    return b"$%d\r\n%d\r\n" % (len(str(port)), port)


def _reset(writer: asyncio.StreamWriter) -> None:
    sock: socket.socket | None = writer.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
