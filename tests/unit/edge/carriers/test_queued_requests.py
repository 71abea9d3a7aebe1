"""What one connection can have waiting, and how it ends: bounded in number and in bytes, answered where it can be."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from services.edge.carriers.uvicorn_protocol import StreamProtocol
from tests.support.connection import accepted
from tests.support.sse_client import answered, request

__all__ = ()

LIVE, OTHER = request("GET", "/live"), request("GET", "/other")


class App:
    """Answers at once; but `/body` when its body has come, and `/held` when told to, which also ends `/live`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.end = asyncio.Event()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked.append(scope["path"])
        if scope["path"] == "/body":
            message = await receive()
            while message.get("more_body", False):
                message = await receive()
            if message["type"] == "http.disconnect":
                return
        if scope["path"] == "/held":
            await self.end.wait()
        head = {"type": "http.response.start", "status": 200, "headers": [(b"x-path", scope["path"].encode())]}
        if scope["path"] == "/live":
            await send(head)
            await send({"type": "http.response.body", "body": b"begun,", "more_body": True})
            await self.end.wait()
            await send({"type": "http.response.body", "body": b"ended", "more_body": False})
            return
        await send(head)
        await send({"type": "http.response.body", "body": b"said", "more_body": False})


@asynccontextmanager
async def connection(
    app: App,
) -> AsyncIterator[tuple[StreamProtocol, asyncio.StreamReader, asyncio.StreamWriter]]:
    async with accepted(app) as (protocol, theirs):
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2_000_000)
        reader, writer = await asyncio.open_connection(sock=theirs)
        try:
            async with asyncio.timeout(10):
                yield protocol, reader, writer
        finally:
            writer.transport.abort()


# Pipelining


async def test_a_handful_of_requests_wait_in_order() -> None:
    app = App()
    async with connection(app) as (_, reader, writer):
        writer.write(LIVE + OTHER * 5)
        live = await answered(reader)
        assert app.asked == ["/live"]
        app.end.set()
        assert await live.read() == b"begun,ended"
        for _ in range(5):
            assert await (await answered(reader)).read() == b"said"


@pytest.mark.parametrize("is_one_read", [True, False])
async def test_more_than_a_handful_end_the_connection(is_one_read: bool) -> None:
    """6,000 requests behind a live stream cost 16 MB."""
    app = App()
    async with connection(app) as (protocol, reader, writer):
        if is_one_read:
            protocol.data_received(LIVE + OTHER * 6_000)
        else:
            writer.write(LIVE)
            await reader.readuntil(b"begun,")
            writer.write(OTHER * 6_000)
        rest = await reader.read()
        assert b"said" not in rest
        assert len(protocol.pipeline) <= 8


async def test_a_few_large_heads_end_the_connection_as_well() -> None:
    large = request("GET", "/other", headers={"x-large": "x" * 40_000})
    async with connection(App()) as (protocol, reader, _):
        protocol.data_received(LIVE + large * 4)
        assert b"said" not in await reader.read()
        assert sum(len(value) for cycle, _ in protocol.pipeline for _, value in cycle.scope["headers"]) <= 65_536


async def test_what_waited_and_was_answered_does_not_count_any_more() -> None:
    """Many requests, a few at a time, on one connection that is never cut."""
    app = App()
    app.end.set()
    large = request("GET", "/other", headers={"x-large": "x" * 20_000})
    async with connection(app) as (_, reader, writer):
        for _ in range(12):
            writer.write(LIVE + large * 2)
            assert await (await answered(reader)).read() == b"begun,ended"
            for _ in range(2):
                assert await (await answered(reader)).read() == b"said"


async def test_a_head_of_many_headers_is_refused_though_it_is_small() -> None:
    """5 bytes of a header become 130 in memory, and are there as long as the response lasts."""
    many = b"GET /live HTTP/1.1\r\nhost: 127.0.0.1\r\n" + b"a:b\r\n" * 5_000 + b"\r\n"
    async with connection(App()) as (protocol, reader, _):
        protocol.data_received(many)
        assert (await answered(reader)).status == 431
        assert len(protocol.headers) < 200


async def test_the_body_of_what_is_being_answered_is_not_kept() -> None:
    head = b"POST /live HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 900000\r\n\r\n"
    async with connection(App()) as (protocol, reader, writer):
        writer.write(head)
        await reader.readuntil(b"begun,")
        writer.write(b"x" * 800_000)
        await writer.drain()
        await asyncio.sleep(0.1)
        assert len(protocol.cycle.body) == 0


# Bodies that are none, halves that close


@pytest.mark.parametrize(
    "body", [b"zz\r\nx\r\n", b"5\r\nhello!!\r\n", b"-1\r\n", b"\r\n\r\n", b"ffffffffffffffffff\r\n"]
)
@pytest.mark.parametrize("is_one_read", [True, False])
async def test_a_malformed_chunked_body_is_a_400(body: bytes, is_one_read: bool) -> None:
    head = request("POST", "/body", headers={"transfer-encoding": "chunked"})
    app = App()
    async with connection(app) as (protocol, reader, writer):
        if is_one_read:
            protocol.data_received(head + body)
        else:
            writer.write(head + b"2\r\nok\r\n")
            await asyncio.sleep(0.05)  # the application waits for the rest by then
            writer.write(body)
        answer = await answered(reader)
        assert answer.status == 400
        assert answer.headers["connection"] == "close"
        assert (await answer.json())["error"]["code"] == "invalid_request"
        assert await reader.read() == b""


async def test_a_malformed_body_behind_a_response_that_has_begun_ends_it() -> None:
    head = b"POST /live HTTP/1.1\r\nhost: 127.0.0.1\r\ntransfer-encoding: chunked\r\n\r\n"
    async with connection(App()) as (_, reader, writer):
        writer.write(head)
        await reader.readuntil(b"begun,")
        writer.write(b"zz\r\n")
        assert b"HTTP/1.1" not in await reader.read()


@pytest.mark.parametrize("path", ["/other", "/body", "/held"])
async def test_who_closes_its_half_with_the_request_is_answered(path: str) -> None:
    app = App()
    async with connection(app) as (_, reader, writer):
        writer.write(request("POST", path, body=b"x" * 100))
        writer.write_eof()
        await asyncio.sleep(0.05)  # the end of the half is seen by then
        app.end.set()
        answer = await answered(reader)
        assert await answer.read() == b"said"
        assert await reader.read() == b""


async def test_all_that_was_asked_before_the_half_closed_is_answered() -> None:
    app = App()
    async with connection(app) as (_, reader, writer):
        writer.write(LIVE + OTHER * 3)
        writer.write_eof()
        live = await answered(reader)
        app.end.set()
        assert await live.read() == b"begun,ended"
        for _ in range(3):
            assert await (await answered(reader)).read() == b"said"
        assert await reader.read() == b""


async def test_a_half_that_closes_in_the_middle_of_a_request_ends_it() -> None:
    for unfinished in (b"GET /other HTTP/1.1\r\nhost:", request("POST", "/body", body=b"x" * 100)[:-1]):
        async with connection(App()) as (_, reader, writer):
            writer.write(unfinished)
            writer.write_eof()
            assert await reader.read() == b""


async def test_a_half_that_closes_behind_a_stream_ends_it() -> None:
    """A browser that leaves looks the same, and is to be forgotten at once."""
    async with connection(App()) as (_, reader, writer):
        writer.write(LIVE)
        await reader.readuntil(b"begun,")
        writer.write_eof()
        assert b"ended" not in await reader.read()


# HTTP/1.0


@pytest.mark.parametrize("path", ["/other", "/live"])
async def test_http_1_0_is_answered_without_chunks_and_closed(path: str) -> None:
    app = App()
    app.end.set()
    async with connection(app) as (_, reader, writer):
        writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert body == (b"said" if path == "/other" else b"begun,ended")
    assert b"transfer-encoding" not in head.lower()
    assert b"connection: close" in head.lower()
