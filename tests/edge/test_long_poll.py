"""Events one document at a time, for clients that can hold no connection open."""

import asyncio
import socket
import struct
import time
from typing import Any

import pytest

from shared.log import events
from shared.store.redis.store import RedisStore
from tests.support.calls import call
from tests.support.script import HAZARDS
from tests.support.sse_client import opened, request
from tests.support.stack import Stack
from tests.support.streams import append, begin, create, nonce, texts
from tests.support.waiting import eventually

__all__ = ()

DELTAS = ("one ", "twö ", "three ")
END = sum(len(delta.encode()) for delta in DELTAS) + 1


@pytest.fixture
async def finished(log: RedisStore) -> str:
    """A stream of three texts that is over."""
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, [*texts(*DELTAS), events.done("stop")])
    return stream_id


async def poll(port: int, stream_id: str, query: str, **headers: str) -> tuple[int, Any]:
    return await call(port, "GET", f"/v1/streams/{stream_id}/events?{query}", **headers)


def said(body: Any) -> str:
    return "".join(event.get("delta", "") for event in body["events"])


async def test_what_there_is_comes_at_once_and_tells_the_end(broker: Stack, finished: str) -> None:
    began = time.monotonic()
    status, body = await poll(broker.ports[0], finished, "wait=20")
    assert status == 200
    assert time.monotonic() - began < 10
    assert [event["type"] for event in body["events"]] == ["start", "text", "text", "text", "done"]
    assert (said(body), body["cursor"], body["over"]) == ("".join(DELTAS), f"1-{END}.{nonce(1)}", True)


async def test_polls_from_cursor_to_cursor_bring_everything_once(broker: Stack, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    pieces, got = ["".join(HAZARDS), *DELTAS], ""

    async def written() -> None:
        tail = 0
        for piece in pieces:
            await append(log, stream_id, texts(piece), tail=tail)
            tail += len(piece.encode())
            await asyncio.sleep(0.1)
        await append(log, stream_id, [events.done("stop")], tail=tail)

    async with asyncio.TaskGroup() as group:
        group.create_task(written())
        cursor, is_over, ports = "0-0", False, broker.ports
        while not is_over:
            status, body = await poll(ports[0], stream_id, f"wait=10&after={cursor}")
            assert status == 200
            assert body["events"], "a poll was answered with nothing before its time"
            assert body["events"][-1]["event_id"] == body["cursor"]
            got += said(body)
            cursor, is_over, ports = body["cursor"], body["over"], [*ports[1:], ports[0]]
    assert got == "".join(pieces)
    assert await poll(broker.ports[0], stream_id, f"wait=10&after={cursor}") == (204, None)


async def test_news_is_the_answer_as_soon_as_there_is_some(broker: Stack, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, texts("past"))
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(poll(broker.ports[0], stream_id, "wait=30&after=now"))
        await asyncio.sleep(1.5)  # a heartbeat of this edge, which is no news
        assert not waiting.done()
        written = time.monotonic()
        await append(log, stream_id, texts("news"), tail=4)
    assert time.monotonic() - written < 5
    status, body = waiting.result()
    assert (status, said(body), body["cursor"], body["over"]) == (200, "news", f"1-8.{nonce(1)}", False)


async def test_without_news_the_answer_is_empty_when_the_time_is_up_and_has_the_cursor(
    broker: Stack, log: RedisStore
) -> None:
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, texts("past"))
    began = time.monotonic()
    status, body = await poll(broker.ports[0], stream_id, "wait=1&after=now")
    assert (status, body["cursor"], body["over"]) == (200, f"1-4.{nonce(1)}", False)
    assert [event["type"] for event in body["events"]] == ["start"]
    assert 0.9 < time.monotonic() - began < 6


async def test_of_a_stream_that_waits_there_is_a_start_and_no_cursor(broker: Stack, log: RedisStore) -> None:
    stream_id = await create(log, tenant="public")
    status, body = await poll(broker.ports[0], stream_id, "wait=1")
    assert (status, body["cursor"], body["over"]) == (200, None, False)
    assert [event["type"] for event in body["events"]] == ["start"]


async def test_a_poll_that_does_not_wait_answers_what_there_is(broker: Stack, finished: str, log: RedisStore) -> None:
    status, body = await poll(broker.ports[0], finished, "wait=0&after=0-0", accept="application/json")
    assert (status, said(body)) == (200, "".join(DELTAS))
    live = await begin(log, tenant="public")
    await append(log, live, texts("past"))
    cursor = f"1-4.{nonce(1)}"
    answer = await poll(broker.ports[0], live, f"wait=0&after={cursor}", accept="application/json")
    assert answer == (200, {"events": [], "cursor": cursor, "over": False})


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
async def test_whoever_names_a_wire_is_told_on_it(broker: Stack, finished: str, accept: str) -> None:
    path = f"/v1/streams/{finished}/events?wait=5"
    async with opened(broker.ports[0], "GET", path, headers={"accept": accept}) as answer:
        assert answer.headers["content-type"].startswith(accept)


@pytest.mark.parametrize("wait", ["51", "-1", "x", "", "1.5", "9" * 30])
async def test_a_time_that_is_none_is_refused(broker: Stack, finished: str, wait: str) -> None:
    status, body = await poll(broker.ports[0], finished, f"wait={wait}")
    assert (status, body["error"]["code"]) == (400, "invalid_request")


async def test_an_unknown_stream_is_a_404_and_a_wrong_cursor_a_400(broker: Stack, finished: str) -> None:
    assert (await poll(broker.ports[0], "0" * 32, "wait=1"))[0] == 404
    assert (await poll(broker.ports[0], finished, "wait=1&after=x"))[0] == 400


async def test_a_reset_is_an_answer(broker: Stack, finished: str) -> None:
    status, body = await poll(broker.ports[0], finished, "wait=5&after=7-7.00000000")
    assert status == 200
    assert body["events"][0]["type"] == "reset"
    assert body["cursor"] == body["events"][-1]["event_id"]


async def test_a_client_that_leaves_leaves_nothing_behind(broker: Stack, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    edge = broker.edges[0]
    before = await asyncio.to_thread(lambda: edge.readers)

    async def has_readers(number: int) -> bool:
        return await asyncio.to_thread(lambda: edge.readers) == number

    _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(request("GET", f"/v1/streams/{stream_id}/events?wait=50&after=0-0"))
    await eventually(lambda: has_readers(before + 1))
    reset_on_close = struct.pack("ii", 1, 0)  # whoever only closes half of a connection still wants the answer
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset_on_close)
    writer.transport.abort()
    await eventually(lambda: has_readers(before))


async def test_http_1_0_gets_it_with_a_length(broker: Stack, finished: str) -> None:
    path = f"/v1/streams/{finished}/events?wait=0"
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.ports[0])
    writer.write(f"GET {path} HTTP/1.0\r\nhost: localhost\r\naccept: application/json\r\n\r\n".encode())
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b"chunked" not in head.lower()
    assert f"content-length: {len(body)}".encode() in head.lower()
