"""The AI SDK's `WebSocketChatTransport`: several answers over one socket, each by the id of its request.

An answer is read from its beginning, and its chunks are numbered for each request, so they are no bytes that readers
could share: each is taken out of the wire's frames again.
"""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final

import orjson
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from services.edge.access.caller import Caller, caller_of
from services.edge.api.ai_sdk.request import MAX_ID_CHARS, chat_id_of, chat_request
from services.edge.api.ai_sdk.routes import API_NAME
from services.edge.api.asking import create_from, settings_of, streams_of, threads_of
from services.edge.carriers.carrier import Disconnected, Headers, SlowReader
from services.edge.carriers.uvicorn_protocol import CONNECTION_EXTENSION, DirectSocket
from services.edge.carriers.websocket_protocol import WebSocketProtocol
from services.edge.delivery.reader import Reader
from services.edge.wires.ai_sdk.wire import AI_SDK
from services.edge.wires.websocket import text_frame
from shared.errors import InvalidRequest, StreamExpired, TailraceError, UnknownStream
from shared.log.events import json_line

__all__ = ("ChatSocket",)

_BAD_MESSAGE, _RESTARTING = 4400, 1012
_MOST_ANSWERS: Final = 16


class _Carrier:
    """Takes the frames of one answer out of what its reader is given, and sends their chunks."""

    wrap = None

    def __init__(self, owner: "ChatSocket", request_id: str) -> None:
        self._owner = owner
        self._request_id = request_id
        self._rest = b""
        self._sequence = 0

    async def start(self, headers: Headers) -> None:
        """The handshake is over."""

    async def ready(self) -> None:
        await self._owner.ready()

    async def send(self, payload: bytes) -> None:
        await self.ready()
        *blocks, self._rest = (self._rest + payload).split(b"\n\n")
        for block in blocks:
            data = next((line[6:] for line in block.split(b"\n") if line.startswith(b"data: {")), None)
            if data is not None:
                self._owner.tell_raw(b'"chunk","requestId":%b,"sequence":%d,"chunk":%b' % (*self._named(), data))

    def write(self, wrapped: bytes) -> DirectSocket | None:
        raise RuntimeError("chunks have numbers of their own")

    async def end(self) -> None:
        self._owner.tell("end", self._request_id)

    async def cut(self) -> None:
        # The transport fails all its requests then, and asks for each answer again.
        await self._owner.close(_RESTARTING, "come back")

    def abort(self) -> None:
        self._owner.connection.transport.abort()

    async def drop(self) -> None:
        self.abort()

    def release(self) -> None:
        """Nothing is held."""

    def _named(self) -> tuple[bytes, int]:
        self._sequence += 1
        return json_line(self._request_id), self._sequence - 1


class ChatSocket:
    """One socket of a transport."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._request = HTTPConnection(scope)
        self._receive = receive
        self._send = send
        self._readers: dict[str, Reader | None] = {}
        self._is_closed = False
        self.connection: WebSocketProtocol = scope["extensions"][CONNECTION_EXTENSION]

    async def run(self) -> None:
        """Serve the connection until one side ends it."""
        await self._receive()
        await self._send({"type": "websocket.accept"})
        caller = await caller_of(self._request)
        async with asyncio.TaskGroup() as group:
            while (message := await self._receive())["type"] == "websocket.receive":
                await self._take(group, caller, message.get("text") or "")
            self._is_closed = True
            self._disconnect()

    async def ready(self) -> None:
        """Wait until the peer has room. Raises `Disconnected`."""
        try:
            async with asyncio.timeout(settings_of(self._request).send_timeout_s):
                await self.connection.writable.wait()
        except TimeoutError as error:
            self.connection.transport.abort()
            raise SlowReader from error
        if self.connection.is_lost:
            raise Disconnected

    def tell(self, kind: str, request_id: str, **fields: Any) -> None:
        if not self.connection.is_lost:
            message = {"type": kind, "requestId": request_id, **fields}
            self.connection.transport.write(text_frame(json_line(message)))

    def tell_raw(self, members: bytes) -> None:
        self.connection.transport.write(text_frame(b'{"type":%b}' % members))

    async def close(self, code: int, reason: str) -> None:
        if not self._is_closed and not self.connection.is_lost:
            self._is_closed = True
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        self._disconnect()

    async def _take(self, group: asyncio.TaskGroup, caller: Caller, text: str) -> None:
        asked = _parsed(text)
        if asked is None:
            await self.close(_BAD_MESSAGE, "a message is a JSON object with a type and a requestId")
            return
        request_id = asked["requestId"]
        match asked["type"]:
            case "send" | "resume" if len(self._readers) >= _MOST_ANSWERS:
                self.tell("error", request_id, errorText=f"A socket carries up to {_MOST_ANSWERS} answers at a time.")
            case "send" | "resume" if request_id not in self._readers:
                self._readers[request_id] = None
                group.create_task(self._answer(caller, asked))
            case "abort":
                reader = self._readers.pop(request_id, None)
                if reader is not None:
                    reader.disconnect()
            case _:
                await self.close(_BAD_MESSAGE, "no message of this type is known here")

    async def _answer(self, caller: Caller, asked: Mapping[str, Any]) -> None:
        request_id = asked["requestId"]
        try:
            stream_id = await (self._asked(caller, asked) if asked["type"] == "send" else self._current(caller, asked))
            reader = None
            if stream_id is not None:
                reader = await streams_of(self._request).open(caller, stream_id, None, AI_SDK)
            if reader is None:
                self.tell("no-active", request_id)
            elif request_id in self._readers and not self._is_closed:
                self.tell("start", request_id)
                self._readers[request_id] = reader
                await self._read(reader, request_id)
        except TailraceError as refusal:
            self.tell("error", request_id, errorText=refusal.message if refusal.status < 500 else refusal.text)
        finally:
            self._readers.pop(request_id, None)

    async def _read(self, reader: Reader, request_id: str) -> None:
        self.connection.watch(reader.stall)
        try:
            with suppress(Disconnected):
                await reader.run(_Carrier(self, request_id))
        finally:
            self.connection.unwatch(reader.stall)

    async def _asked(self, caller: Caller, asked: Mapping[str, Any]) -> str:
        """Begin an answer. Raises `TailraceError`."""
        body = asked.get("body") if isinstance(asked.get("body"), dict) else {}
        wanted = {**(body or {}), **{name: asked.get(name) for name in ("id", "messages", "messageId")}}
        chat_id = chat_id_of(wanted)
        request = chat_request(wanted, default_model=settings_of(self._request).default_model)
        created = await create_from(self._request, caller, request, json_line(wanted))
        if chat_id is not None:
            await threads_of(self._request).lead(caller, API_NAME, chat_id, created.id)
        return created.id

    async def _current(self, caller: Caller, asked: Mapping[str, Any]) -> str | None:
        """The stream that the chat is at, if it still says something. Raises `TailraceError`."""
        chat_id = chat_id_of(asked)
        if chat_id is None:
            raise InvalidRequest("id: which chat?", param="id")
        stream_id = await threads_of(self._request).current(caller, API_NAME, chat_id)
        if stream_id is None:
            return None
        try:
            meta = await streams_of(self._request).state(caller, stream_id)
        except (UnknownStream, StreamExpired):
            return None
        return None if meta.is_over else stream_id

    def _disconnect(self) -> None:
        for reader in list(self._readers.values()):
            if reader is not None:
                reader.disconnect()


def _parsed(text: str) -> dict[str, Any] | None:
    try:
        asked = orjson.loads(text)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(asked, dict) or not isinstance(asked.get("type"), str):
        return None
    request_id = asked.get("requestId")
    return asked if isinstance(request_id, str) and 1 <= len(request_id) <= MAX_ID_CHARS else None
