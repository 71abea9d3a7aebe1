"""What counts as the head of a request, whatever one read of the socket brings of it and of what is around it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import pairwise
from typing import Any

import pytest

from tests.support.connection import accepted
from tests.support.sse_client import answered, request

__all__ = ()

BAD_HEAD, LARGE_HEAD = b"HELO edge\r\n\r\n", request("GET", "/", headers={"x-large": "x" * 150_000})
LARGE_BODY = b"x" * 150_000


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the size of the body; on `/early` before it has come, on `/late` after a while."""
    size, more_body = 0, scope["path"] != "/early"
    while more_body:
        message = await receive()
        size, more_body = size + len(message.get("body", b"")), message.get("more_body", False)
    if scope["path"] == "/late":
        await asyncio.sleep(0.1)
    body = b"%d" % size
    headers = [(b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


@asynccontextmanager
async def connection() -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """What a peer hears with and speaks with. Fails if code of the server has, which only its log would tell."""
    loop, failures = asyncio.get_running_loop(), list[Any]()
    loop.set_exception_handler(lambda _, context: failures.append(context))
    async with accepted(_app) as (_, theirs):
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 400_000)
        reader, writer = await asyncio.open_connection(sock=theirs)
        try:
            async with asyncio.timeout(10):
                yield reader, writer
        finally:
            writer.transport.abort()
    assert failures == []


def say_at_once(writer: asyncio.StreamWriter, data: bytes) -> None:
    writer.write(data)
    assert not writer.transport.get_write_buffer_size()


async def status(reader: asyncio.StreamReader) -> int:
    answer = await answered(reader)
    await answer.read()
    return answer.status


async def said(reader: asyncio.StreamReader) -> str:
    return (await (await answered(reader)).read()).decode()


async def test_a_head_that_is_too_large_is_refused_once_though_it_came_in_one_read() -> None:
    async with connection() as (reader, writer):
        say_at_once(writer, LARGE_HEAD)
        assert await status(reader) == 431
        assert await reader.read() == b""


TOO_LARGE = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx-large: " + b"x" * 300_000 + b"\r\n\r\n"
CUTS = [[], [10], [65_536], [65_536, 131_072], [140_000], [-4], [-1], [65_536, 131_072, -4]]


async def received(theirs: socket.socket) -> bytes:
    """All that the connection says until it ends its half."""
    loop, got = asyncio.get_running_loop(), b""
    async with asyncio.timeout(10):
        while data := await loop.sock_recv(theirs, 65_536):
            got += data
    return got


@pytest.mark.parametrize("cuts", CUTS, ids=str)
async def test_a_head_that_is_too_large_is_refused_once_wherever_it_is_cut(cuts: list[int]) -> None:
    """How many reads it takes is the kernel's choice, so here each read is given."""
    bounds = [0, *(cut % len(TOO_LARGE) for cut in cuts), len(TOO_LARGE)]
    async with accepted() as (protocol, theirs):
        for start, end in pairwise(bounds):
            protocol.data_received(TOO_LARGE[start:end])
        answer = await received(theirs)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_garbage_is_refused_once_however_much_comes_in_one_read() -> None:
    async with connection() as (reader, writer):
        say_at_once(writer, BAD_HEAD + LARGE_BODY)
        assert await status(reader) == 400
        assert await reader.read() == b""


async def test_what_came_before_a_head_in_the_same_read_is_not_part_of_it() -> None:
    first, second = request("POST", "/", body=LARGE_BODY), request("GET", "/")
    async with connection() as (reader, writer):
        say_at_once(writer, first + second[:10])
        assert await said(reader) == str(len(LARGE_BODY))
        say_at_once(writer, second[10:])
        assert await said(reader) == "0"


async def test_the_body_of_a_request_that_had_to_wait_is_not_a_head() -> None:
    """Its rest comes only when the response before it is over."""
    first, second = request("GET", "/late"), request("POST", "/", body=4 * LARGE_BODY)
    async with connection() as (reader, writer):
        say_at_once(writer, first + second[:1_000])
        assert await said(reader) == "0"
        writer.write(second[1_000:])
        assert await said(reader) == str(4 * len(LARGE_BODY))


async def test_a_request_that_was_answered_early_does_not_cost_the_next_its_answer() -> None:
    early = request("POST", "/early", body=b"x" * 1_000)
    async with connection() as (reader, writer):
        say_at_once(writer, early[:-500])
        assert await said(reader) == "0"
        say_at_once(writer, early[-500:])
        say_at_once(writer, BAD_HEAD)
        assert await status(reader) == 400


async def test_a_head_of_many_small_headers_is_too_large_as_well() -> None:
    many = b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 30_000 + b"\r\n"
    async with connection() as (reader, writer):
        say_at_once(writer, many)
        assert await status(reader) == 431


ENDLESS = [b"0\r\n" + b"trailer: x\r\n" * 50_000, b"0\r\ntrailer: " + b"x" * 600_000, b"1;" + b"x" * 600_000]


@pytest.mark.parametrize("endless", ENDLESS, ids=["trailers", "a trailer", "a chunk's extension"])
async def test_what_follows_a_head_and_is_no_body_is_bounded_like_a_head(endless: bytes) -> None:
    """Nobody asks for it, and the parser keeps all of it: 170 MB of trailers made an edge of 2.9 GB."""
    head = request("POST", "/", headers={"transfer-encoding": "chunked"})
    async with connection() as (reader, writer):
        writer.write(head + endless)
        with suppress(ConnectionError):
            assert await reader.read() == b""


async def test_a_body_in_small_chunks_with_a_trailer_is_taken() -> None:
    head = request("POST", "/", headers={"transfer-encoding": "chunked"})
    async with connection() as (reader, writer):
        writer.write(head + b"1\r\nx\r\n" * 100_000 + b"0\r\ntrailer: x\r\n\r\n" + request("GET", "/"))
        assert await said(reader) == "100000"
        assert await said(reader) == "0"
