"""The state of a stream whose message is large: whole, quick, and bounded in what it holds while it is on its way."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from services.bench.author import Author, opened_author
from services.edge.access.byte_limiter import ByteLimiter
from services.edge.api.answers.state import StateResponse
from shared.errors import MemoryPressure
from shared.log import events
from shared.store.memory.store import MemoryStore
from tests.edge.test_failures import assert_quiet, edges_of
from tests.edge.test_reader import body_of
from tests.support.calls import call, state
from tests.support.edge import EdgeProcess
from tests.support.redis_server import RedisServer, running_redis
from tests.support.sse_client import opened
from tests.support.streams import append, begin, write
from tests.support.waiting import eventually

__all__ = ()

MIB = 2**20
# Of JSON's escapes, of two, three and four bytes, and of what cuts a line.
PIECE = 'wörd "漢字"\n\u2028🙂 ' * 200


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis("redis7") as server:
        yield server


@pytest.fixture
async def author(server: RedisServer) -> AsyncIterator[Author]:
    async with opened_author(server.url, max_total_bytes=10**9, max_stream_bytes=10**9) as author:
        yield author


async def told(author: Author, *, size: int) -> tuple[str, str]:
    """A finished, folded stream of about `size` bytes, and its text."""
    writer, texts = await author.begin(), []
    for _ in range(max(size // len(PIECE.encode()), 1)):
        texts.append(PIECE)
        writer.add([events.delta("text", PIECE)])
        await writer.room()
    await author.end(writer)
    await author.folded([writer.id])
    return writer.id, "".join(texts)


@pytest.mark.parametrize("size", [100, 30_000, 40_000, 3 * MIB])
@pytest.mark.parametrize("is_plain", [False, True], ids=["transport", "asgi"])
async def test_a_message_of_any_length_is_whole(
    author: Author, server: RedisServer, tmp_path: Path, size: int, is_plain: bool
) -> None:
    stream_id, text = await told(author, size=size)
    with edges_of(tmp_path, 1, redis_url=server.url, is_plain=is_plain) as (edge,):
        found = await state(edge.port, stream_id)
        assert found["content"] == [{"type": "text", "text": text}]
        assert (found["status"], found["trimmed_units"]) == ("done", 0)
        assert_quiet(edge)


async def test_a_large_message_takes_no_longer_than_its_events(
    author: Author, server: RedisServer, tmp_path: Path
) -> None:
    """To a reader on the same machine, a proxy say, one large write took a hundred times as long."""
    stream_id, _ = await told(author, size=4 * MIB)
    with edges_of(tmp_path, 1, redis_url=server.url) as (edge,):

        async def seconds(path: str) -> float:
            began = time.monotonic()
            async with opened(edge.port, "GET", f"/v1/streams/{stream_id}{path}") as answer:
                assert len(await answer.read()) > 4 * MIB
            return time.monotonic() - began

        await seconds("")
        assert await seconds("") < 10 * await seconds("/events")


async def test_messages_that_nobody_takes_are_bounded_and_the_others_are_told(
    author: Author, server: RedisServer, tmp_path: Path
) -> None:
    """Two of 6 MiB fit into 16. Whoever waits in vain gets a 503; small ones wait for nobody; and the deaf are cut."""
    large, _ = await told(author, size=6 * MIB)
    small, text = await told(author, size=1000)
    settings = {"edge_buffer_bytes": 16 * MIB, "send_timeout_s": 12}
    with edges_of(tmp_path, 1, redis_url=server.url, **settings) as (edge,), ExitStack() as stack:
        await state(edge.port, large)
        before = edge.rss_bytes
        for _ in range(12):
            stack.enter_context(deaf(edge, large))
        refused = asyncio.create_task(call(edge.port, "GET", f"/v1/streams/{large}"))
        await asyncio.sleep(1)
        assert (await state(edge.port, small))["content"] == [{"type": "text", "text": text}]
        assert edge.rss_bytes - before < 32 * MIB
        status, body = await refused
        assert (status, body["error"]["code"], body["error"]["retryable"]) == (503, "memory_pressure", True)
        await eventually(lambda: is_served(edge, large), within_s=30)
        assert edge.rss_bytes - before < 32 * MIB
        assert_quiet(edge)


def deaf(edge: EdgeProcess, stream_id: str) -> socket.socket:
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", edge.port))
    connection.sendall(f"GET /v1/streams/{stream_id} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    return connection


async def is_served(edge: EdgeProcess, stream_id: str) -> bool:
    return (await call(edge.port, "GET", f"/v1/streams/{stream_id}"))[0] == 200


async def test_a_turn_ends_with_its_response_whatever_that_ends_with() -> None:
    store, limiter = MemoryStore(), ByteLimiter(1, refusal=lambda: MemoryPressure("no"), wait_most_s=0.01)
    stream_id = await begin(store)
    await append(store, stream_id, [events.done("stop")], tail=await write(store, stream_id, PIECE * 20))
    response = StateResponse(store, stream_id, size_bytes=10**6, limiter=limiter, send_timeout_s=1)

    async def fail(message: object) -> None:
        async with limiter.taken(1):
            raise AssertionError

    with pytest.raises(MemoryPressure):
        await response({"type": "http", "http_version": "1.1"}, _nothing, fail)
    assert (await body_of(response))["content"] == [{"type": "text", "text": PIECE * 20}]
    assert (await body_of(response))["status"] == "done"


async def _nothing() -> dict[str, str]:
    raise AssertionError
