"""One stream on a WebSocket, which may carry several: messages come framed, and are written as they are."""

import asyncio
from collections.abc import Awaitable, Callable

from services.edge.carriers.carrier import Disconnected, Headers, SlowReader
from services.edge.carriers.uvicorn_protocol import DirectSocket
from services.edge.carriers.websocket_protocol import WebSocketProtocol

__all__ = ("WebSocketCarrier",)


def _as_it_is(payload: bytes) -> bytes:
    return payload


class WebSocketCarrier:
    """Writes whole messages to the connection. What the end of the stream means for that is its owner's to say.

    `on_end` is awaited with true when the stream is over, and with false when its reader is sent away.
    """

    __slots__ = ("_connection", "_direct", "_on_end", "_on_stall", "_timeout_s")

    wrap = staticmethod(_as_it_is)

    def __init__(
        self,
        connection: WebSocketProtocol,
        *,
        timeout_s: float,
        on_stall: Callable[[], None],
        on_end: Callable[[bool], Awaitable[None]],
    ) -> None:
        self._connection = connection
        self._direct = connection.direct_socket
        self._timeout_s = timeout_s
        self._on_stall = on_stall
        self._on_end = on_end
        connection.watch(on_stall)

    async def start(self, headers: Headers) -> None:
        """The handshake is over."""

    async def ready(self) -> None:
        if not self._connection.is_writable:
            await self._drain()
        if self._connection.is_lost:
            raise Disconnected

    async def send(self, payload: bytes) -> None:
        await self.ready()
        if payload:
            self.write(payload)

    def write(self, wrapped: bytes) -> DirectSocket | None:
        connection = self._connection
        if connection.is_lost:
            return None
        direct = self._direct
        if direct is not None and not connection.transport.get_write_buffer_size():
            try:
                sent = direct.send(wrapped)
            except OSError:
                sent = 0
            if sent == len(wrapped):
                return None  # the next has to ask again: the server has pings of its own to write
            wrapped = wrapped[sent:]
        connection.transport.write(wrapped)
        return None

    async def end(self) -> None:
        await self._on_end(True)

    async def cut(self) -> None:
        await self._on_end(False)

    def abort(self) -> None:
        self._connection.transport.abort()

    async def drop(self) -> None:
        self.abort()
        await self._connection.lost()

    def release(self) -> None:
        self._connection.unwatch(self._on_stall)

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._connection.writable.wait()
        except TimeoutError as error:
            self._connection.transport.abort()
            raise SlowReader from error
