"""Streams over a WebSocket: one whose address names it, or as many as a client asks for (PROTOCOL.md, section 10).

Readers are those of any other connection: cursors that write to the socket themselves once they are up to date.
"""

import asyncio
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from services.edge.access.caller import Caller, caller_of
from services.edge.api.asked import query_cursor
from services.edge.carriers.carrier import Disconnected, SlowReader
from services.edge.carriers.uvicorn_protocol import CONNECTION_EXTENSION
from services.edge.carriers.websocket import WebSocketCarrier
from services.edge.carriers.websocket_protocol import WebSocketProtocol
from services.edge.delivery.reader import Reader
from services.edge.streams import Streams
from services.edge.wires.websocket import WebSocketWire, text_frame
from shared.errors import Draining, TailraceError
from shared.log.events import json_line
from shared.settings.settings import Settings

__all__ = ("SocketSession",)

_DONE, _RESTARTING, _TRY_AGAIN = 1000, 1012, 1013
# What a refusal is as a close code: 4000 and its status, unless it passes.
_REFUSED: Final = 4000
_MOST_STREAMS: Final = 64
_MOST_CHARS: Final = 4096


class _Asked(BaseModel):
    """A message of a client."""

    model_config = ConfigDict(extra="forbid")

    type: str
    stream: str = Field("", max_length=128)
    after: str | None = None
    attempt: int | None = Field(None, ge=0, lt=2**53)


class SocketSession:
    """One WebSocket. With a `stream_id` it follows that stream, and ends with it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, *, stream_id: str | None) -> None:
        self._request = HTTPConnection(scope)
        self._receive = receive
        self._send = send
        self._only = stream_id
        # Of each stream that was asked for; None until it is open.
        self._readers: dict[str, Reader | None] = {}
        self._is_closed = False
        state = scope["app"].state
        self._streams: Streams = state.streams
        self._settings: Settings = state.settings
        self._metrics = state.metrics
        self._connection: WebSocketProtocol = scope["extensions"][CONNECTION_EXTENSION]

    async def run(self) -> None:
        """Serve the connection until one side ends it."""
        await self._receive()
        await self._send({"type": "websocket.accept"})
        caller = await caller_of(self._request)
        async with asyncio.TaskGroup() as group:
            if self._only is not None:
                self._readers[self._only] = None
                group.create_task(self._follow(caller, self._only, query_cursor(self._request)))
            while (message := await self._receive())["type"] == "websocket.receive":
                await self._take(group, caller, message.get("text"))
            self._is_closed = True
            self._disconnect()

    async def _take(self, group: asyncio.TaskGroup, caller: Caller, text: str | None) -> None:
        asked = _parsed(text)
        if asked is None:
            await self._close(_REFUSED + 400, "a message is a small JSON object with a type")
            return
        match asked.type:
            case "ping":
                self._tell({"type": "pong"})
            case "subscribe" if self._only is None:
                await self._subscribe(group, caller, asked)
            case "unsubscribe" if self._only is None:
                reader = self._readers.pop(asked.stream, None)
                if reader is not None:
                    reader.disconnect()
            case "cancel":
                await self._cancel(caller, asked)
            case _:
                await self._close(_REFUSED + 400, "no message of this type is known here")

    async def _subscribe(self, group: asyncio.TaskGroup, caller: Caller, asked: _Asked) -> None:
        if asked.stream in self._readers:
            return
        if len(self._readers) >= _MOST_STREAMS:
            await self._close(_REFUSED + 429, f"a socket follows up to {_MOST_STREAMS} streams")
            return
        self._readers[asked.stream] = None
        group.create_task(self._follow(caller, asked.stream, asked.after or None))

    async def _cancel(self, caller: Caller, asked: _Asked) -> None:
        stream_id = self._only or asked.stream
        try:
            reply = await self._streams.cancel(caller, stream_id, attempt=asked.attempt)
        except TailraceError as refusal:
            self._tell(_told(refusal, stream_id))
        else:
            self._tell({"type": "cancel", "stream": stream_id, "answer": type(reply).__name__.lower()})

    async def _follow(self, caller: Caller, stream_id: str, cursor: str | None) -> None:
        try:
            reader = await self._streams.open(caller, stream_id, cursor, WebSocketWire(stream_id))
        except TailraceError as refusal:
            self._readers.pop(stream_id, None)
            await self._refuse(refusal, stream_id)
            return
        if reader is None:
            self._readers.pop(stream_id, None)
            await self._end(stream_id, is_over=True)
        elif stream_id in self._readers and not self._is_closed:
            await self._read(reader, stream_id)

    async def _read(self, reader: Reader, stream_id: str) -> None:
        carrier = WebSocketCarrier(
            self._connection,
            timeout_s=self._settings.send_timeout_s,
            on_stall=reader.stall,
            on_end=lambda is_over: self._end(stream_id, is_over=is_over),
        )
        self._readers[stream_id] = reader
        try:
            await reader.run(carrier)
        except Disconnected as left:
            if isinstance(left, SlowReader):
                self._metrics.slow_readers_cut.inc()
        finally:
            carrier.release()
            if self._readers.get(stream_id) is reader:
                del self._readers[stream_id]

    async def _end(self, stream_id: str, *, is_over: bool) -> None:
        """A stream is over, or its reader is sent away; the socket of one stream ends with it."""
        if is_over:
            self._tell({"type": "end", "stream": stream_id})
        if self._only is not None:
            await (self._close(_DONE, "the stream is over") if is_over else self._close(_RESTARTING, "come back"))
        elif not is_over and self._streams.is_draining and len(self._readers) <= 1:
            await self._close(_RESTARTING, "come back")

    async def _refuse(self, refusal: TailraceError, stream_id: str) -> None:
        self._tell(_told(refusal, stream_id))
        if self._only is None and not isinstance(refusal, Draining):
            return
        if isinstance(refusal, Draining):
            await self._close(_RESTARTING, refusal.code)
        else:
            await self._close(_TRY_AGAIN if refusal.retryable else _REFUSED + refusal.status, refusal.code)

    def _tell(self, message: dict[str, Any]) -> None:
        if not self._connection.is_lost:
            self._connection.transport.write(text_frame(json_line(message)))

    async def _close(self, code: int, reason: str) -> None:
        if not self._is_closed and not self._connection.is_lost:
            self._is_closed = True
            await self._send({"type": "websocket.close", "code": code, "reason": reason})
        self._disconnect()

    def _disconnect(self) -> None:
        for reader in list(self._readers.values()):
            if reader is not None:
                reader.disconnect()


def _parsed(text: str | None) -> _Asked | None:
    if text is None or len(text) > _MOST_CHARS:
        return None
    try:
        return _Asked.model_validate(orjson.loads(text))
    except (ValueError, ValidationError):
        return None


def _told(refusal: TailraceError, stream_id: str) -> dict[str, Any]:
    message = refusal.message if refusal.status < 500 else refusal.text
    said = {"code": refusal.code, "message": message, "retryable": refusal.retryable}
    return {"type": "error", **said, "stream": stream_id}
