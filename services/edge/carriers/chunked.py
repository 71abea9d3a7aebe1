"""A response body written straight to the connection's transport, as HTTP/1.1 chunks."""

import asyncio
from collections.abc import Callable

from starlette.types import Send

from services.edge.carriers.carrier import Disconnected, SlowReader
from services.edge.carriers.uvicorn_protocol import DirectSocket, Headers, StreamProtocol

__all__ = ("ChunkedCarrier", "chunk")


def chunk(payload: bytes) -> bytes:
    """HTTP/1.1 chunked framing, so that a frame can go to many sockets as it is."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


# Every write is a call to the kernel at once, and three of them took a quarter of resuming a reader. So the head, the
# opening and a small first page leave together.
_CORKED_BYTES = 4096


class ChunkedCarrier:
    """Writes to the connection's transport, with the server's own response around it."""

    __slots__ = ("_connection", "_corked", "_direct", "_send", "_timeout_s", "_transport")

    wrap = staticmethod(chunk)

    def __init__(
        self, connection: StreamProtocol, send: Send, *, timeout_s: float, on_stall: Callable[[], None]
    ) -> None:
        self._connection = connection
        self._transport = connection.transport
        self._direct = connection.direct_socket
        self._send = send
        self._timeout_s = timeout_s
        self._corked = b""
        connection.watch(on_stall)

    async def start(self, headers: Headers) -> None:
        await self.ready()
        head = self._connection.begin(headers, self._send)
        if head is None:
            await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            return
        self._corked = head
        asyncio.get_running_loop().call_soon(self._uncork)

    async def ready(self) -> None:
        if not self._connection.is_writable:
            await self._drain()
        if self._connection.is_lost:
            raise Disconnected

    async def send(self, payload: bytes) -> None:
        await self.ready()
        if payload:  # an empty chunk would be the end
            self.write(chunk(payload))

    def write(self, wrapped: bytes) -> DirectSocket | None:
        if self._connection.is_lost:
            return None
        if self._corked:
            self._corked += wrapped
            if len(self._corked) < _CORKED_BYTES:
                return None
            wrapped, self._corked = self._corked, b""
        # What the transport would do at the end of the loop's iteration, without its queue. It has the rest, the
        # errors, and everything while its buffer holds what has to go first.
        direct = self._direct
        if direct is not None and not self._transport.get_write_buffer_size():
            try:
                sent = direct.send(wrapped)
            except OSError:
                sent = 0
            if sent == len(wrapped):
                return direct
            wrapped = wrapped[sent:]
        self._transport.write(wrapped)
        return None

    async def end(self) -> None:
        self._uncork()
        await self.ready()  # the server's own `send` would wait for room without a deadline
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def cut(self) -> None:
        self._uncork()
        self._transport.close()
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._connection.lost()
        except TimeoutError:
            self._transport.abort()
            await self._connection.lost()

    def abort(self) -> None:
        self._corked = b""
        self._transport.abort()

    async def drop(self) -> None:
        self.abort()
        await self._connection.lost()

    def release(self) -> None:
        self._uncork()
        self._connection.watch(None)

    def _uncork(self) -> None:
        """Write what was held back: at the end of the iteration in which the response began, or before it is over."""
        corked, self._corked = self._corked, b""
        if corked and not self._connection.is_lost:
            self._transport.write(corked)

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._connection.flow.drain()
        except TimeoutError as error:
            self._transport.abort()
            raise SlowReader from error
