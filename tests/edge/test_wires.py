"""What is on the connection itself, through both ways out of the edge: its transport, and ASGI's `send`.

What every wire keeps on each of them is in `tests/wires`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

from shared.log import events
from shared.store.redis.store import RedisStore
from tests.support.calls import ask, edge_readers
from tests.support.script import Script
from tests.support.sse_client import (
    NDJSON,
    SSE,
    Answer,
    History,
    answered,
    follow,
    opened,
    request,
)
from tests.support.stack import Stack
from tests.support.streams import append, begin, texts, write
from tests.support.waiting import eventually

__all__ = ()


@dataclass(frozen=True, slots=True)
class Carrier:
    """An edge's port, and the version of HTTP that it is asked with."""

    port: int
    version: str


@pytest.fixture(params=["transport", "asgi", "http/1.0"])
def carrier(request: pytest.FixtureRequest, broker: Stack) -> Carrier:
    """Each way out in turn: HTTP/1.0 has no chunks, so that its readers go through ASGI on every server."""
    if request.param == "asgi":
        return Carrier(broker.plain.port, "1.1")
    return Carrier(broker.ports[0], "1.0" if request.param == "http/1.0" else "1.1")


@asynccontextmanager
async def reading(carrier: Carrier, stream_id: str, wire: str, **headers: str) -> AsyncIterator[Answer]:
    path = f"/v1/streams/{stream_id}/events"
    named = {"accept": wire} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with opened(carrier.port, "GET", path, headers=named, version=carrier.version) as answer:
        yield answer


async def history_of(answer: Answer, stream_id: str) -> History:
    history = History(stream_id)
    async for item in answer.items():
        history.take(item)
    assert answer.is_complete
    return history


async def test_a_connection_begins_with_when_to_come_back(log: RedisStore, carrier: Carrier) -> None:
    """Jittered, so that the readers of one edge do not come back as one."""
    hints = set()
    for _ in range(8):
        async with reading(carrier, await begin(log, tenant="public"), SSE) as answer:
            item = await anext(answer.items())
            assert item.retry_ms is not None
            hints.add(item.retry_ms)
    assert 25 <= min(hints) <= max(hints) <= 75
    assert len(hints) > 1


async def test_two_readers_of_different_wires_hear_the_same(log: RedisStore, carrier: Carrier) -> None:
    stream_id = await begin(log, tenant="public")
    async with reading(carrier, stream_id, SSE) as one, reading(carrier, stream_id, NDJSON) as other:
        await append(log, stream_id, [*texts("a", "b"), events.done("stop")])
        histories = [await history_of(answer, stream_id) for answer in (one, other)]
    assert histories[0].ids == histories[1].ids
    assert histories[0].parts == histories[1].parts


async def test_a_reader_that_hangs_up_is_forgotten_and_the_stream_goes_on(broker: Stack, carrier: Carrier) -> None:
    """Leaving is not stopping."""
    stream_id = await ask(carrier.port, Script(f"hang-up-{carrier}", chunks=60, rate=60))
    before = await edge_readers(carrier.port)
    async with reading(carrier, stream_id, SSE) as answer:
        await anext(answer.items())
        assert await edge_readers(carrier.port) == before + 1
    await eventually(lambda: has_readers(carrier.port, before))
    assert ((await follow(broker.ports, stream_id)).ending or {})["type"] == "done"


async def has_readers(port: int, number: int) -> bool:
    return await edge_readers(port) == number


async def test_a_reader_that_closes_its_half_is_forgotten(log: RedisStore, carrier: Carrier) -> None:
    stream_id = await begin(log, tenant="public")
    before = await edge_readers(carrier.port)
    reader, writer = await asyncio.open_connection("127.0.0.1", carrier.port)
    writer.write(request("GET", f"/v1/streams/{stream_id}/events", version=carrier.version))
    await answered(reader)
    await eventually(lambda: has_readers(carrier.port, before + 1))
    writer.write_eof()
    async with asyncio.timeout(5):
        await reader.read()
    await eventually(lambda: has_readers(carrier.port, before))
    writer.close()
    await writer.wait_closed()


# Several requests on one connection


@pytest.fixture(params=["transport", "asgi"])
def keeping(request: pytest.FixtureRequest, broker: Stack) -> int:
    """The port of an edge, of either kind, for connections that are kept."""
    return broker.ports[0] if request.param == "transport" else broker.plain.port


async def test_a_connection_is_good_for_more_after_a_finished_stream(log: RedisStore, keeping: int) -> None:
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, [*texts("a"), events.done("stop")])
    reader, writer = await asyncio.open_connection("127.0.0.1", keeping)
    for wire in (SSE, NDJSON, SSE):
        writer.write(request("GET", f"/v1/streams/{stream_id}/events", headers={"accept": wire}))
        assert (await history_of(await answered(reader), stream_id)).text() == "a"
        writer.write(request("GET", f"/v1/streams/{stream_id}"))
        assert (await (await answered(reader)).json())["status"] == "done"
    writer.close()
    await writer.wait_closed()


async def test_requests_in_a_row_are_answered_in_a_row(log: RedisStore, keeping: int) -> None:
    """A request behind a live stream waits for its end and harms nothing."""
    stream_id = await begin(log, tenant="public")
    path = f"/v1/streams/{stream_id}"
    reader, writer = await asyncio.open_connection("127.0.0.1", keeping)
    writer.write(request("GET", f"{path}/events") + request("GET", path) + request("GET", f"{path}/events"))
    live = await answered(reader)
    tail = await write(log, stream_id, "x" * 30_000)
    await append(log, stream_id, [*texts("end"), events.done("stop")], tail=tail)
    assert (await history_of(live, stream_id)).text() == "x" * 30_000 + "end"
    assert (await (await answered(reader)).json())["status"] == "done"
    assert (await history_of(await answered(reader), stream_id)).text() == "x" * 30_000 + "end"
    writer.close()
    await writer.wait_closed()


async def test_garbage_behind_a_live_stream_ends_it_without_a_byte_of_its_own(log: RedisStore, broker: Stack) -> None:
    stream_id = await begin(log, tenant="public")
    await write(log, stream_id, "some text")
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.ports[0])
    writer.write(request("GET", f"/v1/streams/{stream_id}/events"))
    answer = await answered(reader)
    items = answer.items()
    history = History(stream_id)
    while history.text() != "some text":
        history.take(await anext(items))
    writer.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
    async for item in items:
        history.take(item)
    assert not answer.is_complete
    writer.transport.abort()


async def test_what_is_no_http_is_told_so_in_the_usual_shape(broker: Stack) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.ports[0])
    writer.write(b"HELO edge\r\n\r\n")
    answer = await answered(reader)
    assert answer.status == 400
    assert (await answer.json())["error"]["code"] == "invalid_request"
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("parts", [[160_000], [100_000, 60_000], [300_000], [100_000] * 30])
async def test_a_head_that_is_too_large_is_told_so_however_it_comes(broker: Stack, parts: list[int]) -> None:
    """In one read or in many, with its end or without; and the answer outlives what we had not read yet."""
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.ports[0])
    writer.write(b"GET /livez HTTP/1.1\r\nhost: localhost\r\nx-large: ")
    for size in parts:
        writer.write(b"x" * size)
        await asyncio.sleep(0.05)
    writer.write(b"\r\n\r\n")
    await writer.drain()
    answer = await answered(reader)
    assert answer.status == 431
    assert (await answer.json())["error"]["code"] == "invalid_request"
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


async def test_a_large_body_does_not_make_its_head_large(broker: Stack) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.ports[0])
    writer.write(request("POST", "/v1/streams", body=b'"' + b"x" * 250_000 + b'"'))
    assert (await answered(reader)).status == 422
    writer.close()
    await writer.wait_closed()


async def test_bytes_that_come_one_at_a_time_do_not_hold_a_connection(broker: Stack) -> None:
    """Whoever has not asked within ten seconds is cut, however busy it looks, and so is whoever was refused."""

    async def dribbled_into(head: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.ports[0])
        writer.write(head)
        answer = asyncio.create_task(reader.read())
        while not writer.is_closing():
            writer.write(b"x")
            await asyncio.sleep(0.2)
        try:
            return await answer
        except ConnectionError:  # cut just between a byte and its reading
            return b""

    async with asyncio.timeout(13):
        unfinished, refused = await asyncio.gather(
            dribbled_into(b"GET /livez HTTP/1.1\r\nhost: "), dribbled_into(b"HELO edge\r\n\r\n")
        )
    assert unfinished == b""
    assert refused.startswith(b"HTTP/1.1 400 ")
