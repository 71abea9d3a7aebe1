"""Streams over WebSockets, with the `websockets` package as the client."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from shared.log import events
from shared.store.calls import Compact
from shared.store.redis.store import RedisStore
from tests.support.calls import ask, call, edge_readers, state
from tests.support.edge import running_edge
from tests.support.script import HAZARDS, Script, expected
from tests.support.sse_client import History, Item
from tests.support.stack import Stack
from tests.support.streams import RETENTION, append, begin, nonce, texts
from tests.support.waiting import eventually

__all__ = ()

SAID = "".join(HAZARDS)


@asynccontextmanager
async def socket(port: int, path: str, **options: Any) -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://127.0.0.1:{port}/v1{path}", compression=None, **options) as connection:
        yield connection


async def heard(connection: ClientConnection, stream_id: str) -> tuple[History, int | None]:
    """What was told of one stream until the socket closed, and the code it closed with."""
    history = History(stream_id)
    try:
        async for text in connection:
            take(history, json.loads(text))
    except ConnectionClosed:
        pass
    return history, connection.close_code


async def text_of(connection: ClientConnection) -> str:
    return "".join([json.loads(text).get("delta", "") async for text in connection])


def take(history: History, message: dict[str, Any]) -> None:
    if message["type"] in {"heartbeat", "end"}:
        return
    assert message["stream"] == history.stream_id
    if message["type"] != "start":
        del message["stream"]
    history.take(Item(message.pop("event_id", None), message))


async def test_a_live_stream_is_exact_and_the_socket_ends_with_it(broker: Stack) -> None:
    script = Script("socket-live", chunks=90, rate=200, kinds="mixed")
    stream_id = await ask(broker.ports[0], script)
    async with socket(broker.ports[1], f"/streams/{stream_id}/ws") as connection:
        history, code = await heard(connection, stream_id)
    assert (history.spoken(), code) == (expected(script), 1000)


async def test_any_text_is_text(broker: Stack, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, texts(*HAZARDS))
    async with socket(broker.ports[0], f"/streams/{stream_id}/ws") as connection:
        tail = sum(event.size for event in texts(*HAZARDS))
        await append(log, stream_id, [*texts(*HAZARDS), events.done("stop")], tail=tail)
        history, _ = await heard(connection, stream_id)
    assert history.spoken() == [("text", SAID * 2)]


async def test_a_cursor_brings_the_rest_from_any_edge(broker: Stack, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, [*texts("Hello", " you"), events.done("stop")])
    for name in ("last_event_id", "after"):
        path = f"/streams/{stream_id}/ws?{name}=1-3.{nonce(1)}"
        async with socket(broker.ports[1], path) as connection:
            assert await text_of(connection) == "lo you"
    async with socket(broker.ports[0], f"/streams/{stream_id}/ws?after=1-10.{nonce(1)}") as connection:
        assert json.loads(await connection.recv()) == {"type": "end", "stream": stream_id}


async def test_no_message_is_longer_than_half_a_mebibyte(broker: Stack, log: RedisStore) -> None:
    """Folded blocks are cut into events with ids of their own, wherever a character ends."""
    stream_id = await begin(log, tenant="public")
    text = "\x00€🎉" * 40_000
    parts = [text[start : start + 4_000] for start in range(0, len(text), 4_000)]
    call_parts = [
        events.tool_call(0, part, call_id="c" if number == 0 else None, name="f" if number == 0 else None)
        for number, part in enumerate(parts[:20])
    ]
    await append(log, stream_id, [*texts(*parts), *call_parts, events.done("stop")])
    await log.compact([Compact(stream_id)])
    async with socket(broker.ports[0], f"/streams/{stream_id}/ws", max_size=512 * 1024) as connection:
        messages = [json.loads(text) async for text in connection]
    history = History(stream_id)
    for message in messages:
        take(history, dict(message))
    assert history.spoken() == [("text", text), ("tool_call", "".join(parts[:20]))]
    ids = [message["event_id"] for message in messages if "event_id" in message]
    assert len(ids) == len(set(ids)) > 5
    async with socket(broker.ports[1], f"/streams/{stream_id}/ws?after={ids[2]}") as connection:
        rest = [json.loads(text) async for text in connection]
    assert [message["event_id"] for message in rest if "event_id" in message] == ids[3:]


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/streams/0123456789abcdef0123456789abcdef/ws", 4404),
        ("/streams/nothing/ws", 4404),
        ("/streams/{id}/ws?after=pray", 4400),
    ],
)
async def test_a_refusal_is_a_message_and_a_close_code(broker: Stack, log: RedisStore, path: str, code: int) -> None:
    stream_id = await begin(log, tenant="public")
    async with socket(broker.ports[0], path.format(id=stream_id)) as connection:
        assert json.loads(await connection.recv())["type"] == "error"
        with pytest.raises(ConnectionClosed):
            await connection.recv()
    assert connection.close_code == code


async def test_what_is_gone_is_4410(broker: Stack, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    await log.delete(stream_id, RETENTION)
    async with socket(broker.ports[0], f"/streams/{stream_id}/ws") as connection:
        assert json.loads(await connection.recv())["code"] == "stream_deleted"
        with pytest.raises(ConnectionClosed):
            await connection.recv()
    assert connection.close_code == 4410


async def test_cancel_and_ping_on_the_socket(broker: Stack) -> None:
    stream_id = await ask(broker.ports[0], Script("socket-cancel", chunks=2_000, rate=100))
    async with socket(broker.ports[0], f"/streams/{stream_id}/ws") as connection:
        await connection.send('{"type":"ping"}')
        await connection.send('{"type":"cancel"}')
        messages = [json.loads(text) async for text in connection]
    kinds = [message["type"] for message in messages]
    assert {"pong", "cancel", "cancelled", "end"} <= set(kinds)
    assert (await state(broker.ports[0], stream_id))["status"] == "cancelled"


async def test_several_streams_on_one_socket(broker: Stack) -> None:
    scripts = [Script(f"socket-many-{number}", chunks=60, rate=150, kinds="mixed") for number in range(5)]
    ids = [await ask(broker.ports[0], script) for script in scripts]
    histories = {stream_id: History(stream_id) for stream_id in ids}
    ended: set[str] = set()
    async with socket(broker.ports[0], "/ws") as connection:
        for stream_id in ids:
            await connection.send(json.dumps({"type": "subscribe", "stream": stream_id}))
        await connection.send(json.dumps({"type": "subscribe", "stream": ids[0]}))  # twice is once
        while len(ended) < len(ids):
            message = json.loads(await connection.recv())
            if message["type"] == "end":
                ended.add(message["stream"])
            elif message["type"] != "heartbeat":
                take(histories[message["stream"]], message)
        await connection.send(json.dumps({"type": "subscribe", "stream": ids[0], "after": "1-3"}))
        assert json.loads(await connection.recv())["stream"] == ids[0]
        await connection.send(json.dumps({"type": "subscribe", "stream": "nothing"}))
        while (message := json.loads(await connection.recv()))["type"] != "error":
            assert message["stream"] == ids[0]
        assert (message["stream"], message["code"]) == ("nothing", "unknown_stream")
    for script, history in zip(scripts, histories.values(), strict=True):
        assert history.spoken() == expected(script)


async def test_whoever_unsubscribes_hears_no_more_of_it(broker: Stack, log: RedisStore) -> None:
    one, other = [await begin(log, tenant="public") for _ in range(2)]
    before = await edge_readers(broker.ports[0])
    async with socket(broker.ports[0], "/ws") as connection:
        for stream_id in (one, other):
            await connection.send(json.dumps({"type": "subscribe", "stream": stream_id}))
        await eventually(lambda: has_readers(broker.ports[0], before + 2))
        await connection.send(json.dumps({"type": "unsubscribe", "stream": one}))
        await eventually(lambda: has_readers(broker.ports[0], before + 1))
        await append(log, one, [*texts("secret"), events.done("stop")])
        await append(log, other, [*texts("Hello"), events.done("stop")])
        said = ""
        while (message := json.loads(await connection.recv()))["type"] != "end":
            said += message.get("delta", "")
    assert (said, message["stream"]) == ("Hello", other)
    await eventually(lambda: has_readers(broker.ports[0], before))


async def has_readers(port: int, number: int) -> bool:
    return await edge_readers(port) == number


@pytest.mark.parametrize("sent", ["no json", "[]", '{"type":"pray"}', '{"type":"ping","x":1}', "x" * 5_000, b"\x00"])
async def test_what_is_no_message_of_a_client_closes_the_socket(broker: Stack, sent: str | bytes) -> None:
    async with socket(broker.ports[0], "/ws") as connection:
        await connection.send(sent)
        with pytest.raises(ConnectionClosed):
            await connection.recv()
    assert connection.close_code == 4400


async def test_a_socket_follows_a_bounded_number_of_streams(broker: Stack) -> None:
    async with socket(broker.ports[0], "/ws") as connection:
        ids = [await ask(broker.ports[0], Script(f"socket-bound-{number}", chunks=400, rate=50)) for number in range(2)]
        for stream_id in ids:
            await connection.send(json.dumps({"type": "subscribe", "stream": stream_id}))
        await connection.send(json.dumps({"type": "cancel", "stream": ids[0]}))
        await connection.send(json.dumps({"type": "cancel", "stream": ids[1]}))
        ended = 0
        while ended < 2:
            ended += json.loads(await connection.recv())["type"] == "end"


@pytest.mark.parametrize("headers", [{"origin": "https://elsewhere.example"}, {"host": "rebound.example"}])
async def test_other_sites_get_no_handshake(broker: Stack, log: RedisStore, headers: dict[str, str]) -> None:
    stream_id = await begin(log, tenant="public")
    for path in (f"/streams/{stream_id}/ws", "/ws", "/elsewhere/ws"):
        raw = "\r\n".join(f"{name}: {value}" for name, value in ({"host": "localhost"} | headers).items())
        request = (
            f"GET /v1{path} HTTP/1.1\r\n{raw}\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
            "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        reader, writer = await asyncio.open_connection("127.0.0.1", broker.ports[0])
        writer.write(request.encode())
        assert b" 403 " in await reader.readline()
        writer.close()


async def test_a_path_that_is_none_is_refused(broker: Stack) -> None:
    with pytest.raises(InvalidStatus):
        async with socket(broker.ports[0], "/streams"):
            pass


async def test_an_edge_that_goes_says_so_and_the_rest_is_elsewhere(broker: Stack, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, texts("Hel"))
    with running_edge(**broker.settings, edge_drain_s=4) as edge:
        async with socket(edge.port, f"/streams/{stream_id}/ws") as connection, socket(edge.port, "/ws") as many:
            await many.send(json.dumps({"type": "subscribe", "stream": stream_id}))
            await eventually(lambda: has_readers(edge.port, 2))
            edge.process.terminate()
            for each in (connection, many):
                history, code = await heard(each, stream_id)
                assert (history.spoken(), code) == ([("text", "Hel")], 1012)
                assert history.reconnect
    await append(log, stream_id, [*texts("lo"), events.done("stop")], tail=3)
    async with socket(broker.ports[0], f"/streams/{stream_id}/ws?after={history.cursor}") as connection:
        assert await text_of(connection) == "lo"


async def test_a_reader_that_reads_nothing_is_cut_and_costs_little(broker: Stack, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    before = await edge_readers(broker.ports[0])
    async with socket(broker.ports[0], f"/streams/{stream_id}/ws", ping_interval=None) as connection:
        await eventually(lambda: has_readers(broker.ports[0], before + 1))
        connection.transport.pause_reading()
        tail = 0
        for _ in range(40):
            await append(log, stream_id, texts("x" * 30_000), tail=tail)
            tail += 30_000
        for _ in range(400):
            await append(log, stream_id, texts("x" * 30_000), tail=tail)
            tail += 30_000
        await eventually(lambda: has_readers(broker.ports[0], before), within_s=30)


async def test_an_upgrade_behind_a_live_response_does_not_take_its_connection(broker: Stack, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    reader, writer = await asyncio.open_connection("127.0.0.1", broker.ports[0])
    writer.write(f"GET /v1/streams/{stream_id}/events HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    await reader.readuntil(b"retry")
    writer.write(
        b"GET /v1/ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        b"sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    rest = await asyncio.wait_for(reader.read(), 10)
    assert b"101" not in rest
    writer.close()
    status, _ = await call(broker.ports[0], "GET", f"/v1/streams/{stream_id}")
    assert status == 200
