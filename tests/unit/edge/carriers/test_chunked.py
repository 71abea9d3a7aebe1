"""Writing past a transport: whole, in order, and not at all once the connection is lost."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from services.edge.carriers.chunked import ChunkedCarrier
from services.edge.carriers.uvicorn_protocol import DirectSocket
from tests.support.connection import accepted

__all__ = ()

CHUNKS = [b"%06d " % number * 1_000 for number in range(200)]


class Connection(asyncio.Protocol):
    """The least of a `StreamProtocol` that an carrier writes to."""

    def __init__(self, *, is_tls: bool = False) -> None:
        self.is_lost = False
        self._is_tls = is_tls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        found = transport.get_extra_info("socket")
        self._socket = socket.SocketType(found.family, found.type, found.proto, found.fileno())

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        self._socket.detach()

    @property
    def direct_socket(self) -> DirectSocket | None:
        return None if self._is_tls else self._socket

    def watch(self, on_stall: Callable[[], None] | None) -> None:
        """Nobody looks for a stall here."""


async def _send(message: Any) -> None:
    raise AssertionError(message)


@asynccontextmanager
async def carrier(*, is_tls: bool = False) -> AsyncIterator[tuple[ChunkedCarrier, Connection, socket.socket]]:
    """An carrier into a small socket, and the other end of it."""
    ours, theirs = socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
    theirs.setblocking(False)
    loop = asyncio.get_running_loop()
    _, connection = await loop.connect_accepted_socket(lambda: Connection(is_tls=is_tls), ours)
    made = ChunkedCarrier(cast("Any", connection), _send, timeout_s=5, on_stall=lambda: None)
    try:
        yield made, connection, theirs
    finally:
        connection.transport.abort()
        theirs.close()
        await asyncio.sleep(0)


async def received(theirs: socket.socket, size: int) -> bytes:
    loop, got = asyncio.get_running_loop(), bytearray()
    async with asyncio.timeout(10):
        while len(got) < size and (data := await loop.sock_recv(theirs, 65_536)):
            got += data
    return bytes(got)


@pytest.mark.parametrize("is_tls", [False, True], ids=["direct", "only by the transport"])
async def test_all_arrives_in_order_however_full_the_socket_is(is_tls: bool) -> None:
    whole = b"".join(CHUNKS)
    async with carrier(is_tls=is_tls) as (made, _, theirs), asyncio.TaskGroup() as group:
        reading = group.create_task(received(theirs, len(whole)))
        for number, chunk in enumerate(CHUNKS):
            made.write(chunk)
            if number % 20 == 0:
                await asyncio.sleep(0.001)  # the socket drains a little, in the middle of what the transport holds
    assert reading.result() == whole


async def test_what_fits_is_there_at_once_and_what_does_not_is_kept() -> None:
    async with carrier() as (made, connection, theirs):
        made.write(CHUNKS[0])
        assert theirs.recv(65_536) == CHUNKS[0]
        while not connection.transport.get_write_buffer_size():
            made.write(CHUNKS[1])


async def test_what_the_transport_holds_goes_first() -> None:
    async with carrier() as (made, connection, theirs):
        connection.transport.write(CHUNKS[0])
        made.write(CHUNKS[1])
        assert await received(theirs, len(CHUNKS[0]) * 2) == CHUNKS[0] + CHUNKS[1]


async def test_a_broken_connection_is_found_by_its_transport_and_then_left_alone() -> None:
    async with carrier() as (made, connection, theirs):
        theirs.close()
        made.write(CHUNKS[0])
        async with asyncio.timeout(5):
            while not connection.is_lost:
                made.write(CHUNKS[1])
                await asyncio.sleep(0)
        made.write(CHUNKS[2])


async def test_a_send_that_outlives_its_connection_reaches_nobody() -> None:
    """The kernel gives a descriptor to the next who asks: what is left of a reader must never be written to them."""
    async with accepted() as (protocol, theirs):
        direct, descriptor = protocol.direct_socket, protocol.transport.get_extra_info("socket").fileno()
        assert direct is not None
        send = direct.send
        assert send(b"mine") == len(theirs.recv(64))

        protocol.transport.abort()
        await protocol.lost()
        others = [end for _ in range(16) for end in socket.socketpair()]
        assert descriptor in {end.fileno() for end in others}
        with pytest.raises(OSError, match="Bad file descriptor"):
            send(b"mine")

    for end in others:
        end.close()
