"""The answer of a request that does not stream: the connection waits until the stream is over, then gets the message.

It waits as a reader does, so through Redis' troubles and from one attempt to the next. Nothing is sent for a while, so
that a failure can be told with a status; then blanks, which JSON allows, keep the connection open, and a failure after
them can only be told by a cut.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.edge.access.admission import come_again
from services.edge.access.byte_limiter import ByteLimiter
from services.edge.api.answers.json_answer import JSON_HEADERS, JSON_TYPE
from services.edge.api.answers.problems import answer
from services.edge.carriers.carrier import Carrier, Disconnected
from services.edge.carriers.selection import carrier_for
from services.edge.carriers.uvicorn_protocol import CONNECTION_EXTENSION
from services.edge.carriers.waiting import WaitingCarrier
from services.edge.delivery.reader import Reader
from shared.errors import Draining, StreamExpired, TailraceError
from shared.settings.settings import Settings
from shared.store.message import Assembled, assemble
from shared.store.state import Meta
from shared.store.store import StreamReads

__all__ = ("Render", "WholeAnswer", "WholeAnswers")

# The message and its state to a response; an error that it raises is answered in the shape of its API.
Render = Callable[[Assembled], Response]
Made = TypeVar("Made")

# A client that gives up after a minute without a byte is kept; an error in this time has its status.
_SILENT_S: Final = 20.0
_BLANK: Final = b" "
_PIECE_BYTES: Final = 16 * 1024
_BUSY: Final = "This edge hands out as many long messages as it may; try again soon."


class WholeAnswer(Response):
    """Waits for the end of what `reader` follows, and sends what `render` makes of the message."""

    def __init__(
        self,
        owner: "WholeAnswers",
        reader: Reader | None,
        stream_id: str,
        render: Render,
        *,
        headers: Mapping[str, str],
        on_left: Callable[[], Awaitable[None]] | None,
    ) -> None:
        self.status_code = 200
        self.background = None
        self._owner = owner
        self._reader = reader
        self._stream_id = stream_id
        self._render = render
        self._more_headers = headers
        self._on_left = on_left
        self._carrier: Carrier | None = None
        self._has_left = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = scope.get("extensions", {}).get(CONNECTION_EXTENSION)
        if self._on_left is not None and connection is not None:
            connection.leave_at_eof()
        async with asyncio.TaskGroup() as group:
            departure = group.create_task(self._watch(receive))
            reading = group.create_task(self._is_over())
            try:
                await self._serve(reading, scope, receive, send)
            except Disconnected:
                await self._drop()
            finally:
                reading.cancel()
                if not self._has_left:
                    departure.cancel()
        if self._carrier is not None:
            self._carrier.release()

    async def _serve(self, reading: asyncio.Task[bool], scope: Scope, receive: Receive, send: Send) -> None:
        pause_s = self._owner.silent_s
        while not (await asyncio.wait((reading,), timeout=pause_s))[0]:
            await self._blank(scope, receive, send)
            pause_s = self._owner.heartbeat_s
        if not self._has_left:
            await self._finish(scope, receive, send, is_over=await reading)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            continue
        self._has_left = True
        if self._reader is not None:
            self._reader.disconnect()
        if self._on_left is not None:
            await self._on_left()

    async def _is_over(self) -> bool:
        """Follow the stream to its end; false if the edge or the client left first."""
        if self._reader is None:
            return True
        carrier = WaitingCarrier()
        try:
            await self._reader.run(carrier)
        except Disconnected:
            return False
        return carrier.is_complete

    async def _blank(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._carrier is None:
            self._carrier = carrier_for(scope, receive, send, timeout_s=self._owner.send_timeout_s, on_stall=_stand_by)
            await self._carrier.start(_head(JSON_HEADERS | {"content-type": JSON_TYPE} | dict(self._more_headers)))
        await self._carrier.send(_BLANK)

    async def _finish(self, scope: Scope, receive: Receive, send: Send, *, is_over: bool) -> None:
        response = await self._response(Request(scope), is_over=is_over)
        if self._carrier is None:
            await response(scope, receive, send)
        elif response.status_code != 200:
            await self._drop()
        else:
            body = bytes(response.body)
            for start in range(0, len(body), _PIECE_BYTES):
                await self._carrier.send(body[start : start + _PIECE_BYTES])
            await self._carrier.end()

    async def _response(self, request: Request, *, is_over: bool) -> Response:
        """The message in its shape, or the refusal that is left."""
        try:
            if not is_over:
                raise Draining
            response = await self._owner.rendered(self._stream_id, self._render)
        except TailraceError as error:
            response = await answer(request, error)
        response.headers.update(self._more_headers)
        return response

    async def _drop(self) -> None:
        if self._carrier is not None:
            await self._carrier.drop()


class WholeAnswers:
    """Whole answers. Those that are being made may together take as much memory as recent frames may."""

    def __init__(self, store: StreamReads, settings: Settings) -> None:
        self.silent_s = _SILENT_S
        self.heartbeat_s = settings.edge_heartbeat_s
        self.send_timeout_s = settings.send_timeout_s
        self._store = store
        self._limiter = ByteLimiter(settings.edge_buffer_bytes, refusal=lambda: come_again(_BUSY))

    def of(
        self,
        reader: Reader | None,
        stream_id: str,
        render: Render,
        *,
        headers: Mapping[str, str] | None = None,
        on_left: Callable[[], Awaitable[None]] | None = None,
    ) -> WholeAnswer:
        """The answer, once the stream is over. `reader` is silent, and None if it is over already.

        `on_left` is awaited if the client leaves first.
        """
        return WholeAnswer(self, reader, stream_id, render, headers=headers or {}, on_left=on_left)

    async def rendered(self, stream_id: str, render: Render) -> Response:
        """Return what `render` makes of the message. Raises `StreamExpired`, `MemoryPressure` or `StoreError`."""
        return await self.made_of(stream_id, render)

    async def made_of(self, stream_id: str, make: Callable[[Assembled], Made]) -> Made:
        """Return what `make` makes of the message. Raises as `rendered` does."""
        meta = await self._store.meta(stream_id)
        if meta is None:
            raise StreamExpired
        async with self._limiter.taken(_size(meta)):
            whole = await assemble(self._store, stream_id)
            if whole is None:
                raise StreamExpired
            return make(whole)


def _size(meta: Meta) -> int:
    return meta.tail - meta.trimmed


def _head(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]


def _stand_by() -> None:
    """The next piece waits for room by itself."""
