"""The AI SDK's frames over a WebSocket, with the `websockets` package as the client."""

import json
from typing import Any

import pytest
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.support.script import Script, expected
from tests.support.stack import MODEL, Stack

__all__ = ()


def socket(broker: Stack) -> Any:
    return connect(f"ws://127.0.0.1:{broker.ports[0]}/api/chat/ws", compression=None)


def sent(script: Script, request_id: str, chat_id: str) -> str:
    content = script.messages()[-1]["content"]
    message = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": content}]}
    frame = {"type": "send", "requestId": request_id, "id": chat_id, "trigger": "submit-message", "headers": {}}
    return json.dumps(frame | {"messages": [message], "body": {"model": MODEL}})


async def answers(connection: ClientConnection, *request_ids: str) -> dict[str, list[dict[str, Any]]]:
    """The chunks of each answer, whose numbers begin with 0 and have no hole."""
    chunks: dict[str, list[dict[str, Any]]] = {each: [] for each in request_ids}
    begun, ended = set[str](), set[str]()
    while len(ended) < len(request_ids):
        frame = json.loads(await connection.recv())
        named = frame["requestId"]
        match frame["type"]:
            case "start":
                begun.add(named)
            case "end":
                ended.add(named)
            case "chunk":
                assert named in begun
                assert frame["sequence"] == len(chunks[named])
                chunks[named].append(frame["chunk"])
            case kind:
                raise AssertionError(kind)
    return chunks


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(chunk["delta"] for chunk in chunks if chunk["type"] == "text-delta")


async def test_answers_share_a_socket_and_are_numbered_each_by_itself(broker: Stack) -> None:
    scripts = {f"r{number}": Script(f"chat-socket-{number}", chunks=50, rate=100) for number in range(3)}
    async with socket(broker) as connection:
        for request_id, script in scripts.items():
            await connection.send(sent(script, request_id, f"chat-{request_id}"))
        told = await answers(connection, *scripts)
    for request_id, script in scripts.items():
        assert told[request_id][0]["type"] == "start"
        assert told[request_id][-1]["type"] == "finish"
        assert [("text", text_of(told[request_id]))] == expected(script)


async def test_a_socket_that_is_lost_is_followed_by_one_that_has_the_whole(broker: Stack) -> None:
    script = Script("chat-socket-lost", chunks=80, rate=40)
    async with socket(broker) as connection:
        await connection.send(sent(script, "r1", "chat-lost"))
        for _ in range(10):
            await connection.recv()
    async with socket(broker) as connection:
        resume = {"type": "resume", "requestId": "r2", "id": "chat-lost", "headers": {}, "body": {}}
        await connection.send(json.dumps(resume))
        told = await answers(connection, "r2")
        assert [("text", text_of(told["r2"]))] == expected(script)
        await connection.send(json.dumps(resume | {"requestId": "r3", "id": "nobodys"}))
        assert json.loads(await connection.recv()) == {"type": "no-active", "requestId": "r3"}


async def test_what_cannot_be_asked_is_an_error_of_that_request(broker: Stack) -> None:
    async with socket(broker) as connection:
        wrong = json.loads(sent(Script("x"), "r1", "c")) | {"body": {"model": "nobodys"}}
        await connection.send(json.dumps(wrong))
        frame = json.loads(await connection.recv())
        assert (frame["type"], frame["requestId"]) == ("error", "r1")
        assert "model" in frame["errorText"]
        await connection.send(json.dumps({"type": "abort", "requestId": "r9"}))
        await connection.send("no json")
        with pytest.raises(ConnectionClosed):
            await connection.recv()
    assert connection.close_code == 4400
