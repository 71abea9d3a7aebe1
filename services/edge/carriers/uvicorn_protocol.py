"""uvicorn's HTTP protocol, and what it lacks.

The ASGI scope names the connection, so that a stream can write to it. And a request has to come in time and in a
bounded size: uvicorn by itself waits for ever for the end of a head, and keeps all of it. What waits behind a response
is bounded as well. Private attributes of uvicorn are used here and nowhere else, checked with 0.54.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, Final, NoReturn

from starlette.types import Send
from uvicorn._types import ASGI3Application, HTTPScope
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from services.edge.carriers.room import Room
from services.edge.carriers.unchunked import unchunked
from shared.log.events import json_line

__all__ = ("CONNECTION_EXTENSION", "DirectSocket", "Headers", "StreamProtocol")

CONNECTION_EXTENSION: Final = "tailrace.connection"

_HEAD_S: Final = 10.0
_HEAD_BYTES: Final = 128 * 1024
_AROUND_BYTES: Final = len(":\r\n")  # the least that a header has beside its name and value
# The five bytes of a header `a:b` are 130 in memory, for as long as the response lasts. Browsers and proxies send 30.
_HEAD_LINES: Final = 100
# Of requests that wait behind the response under way. 360 KB of small ones cost a connection 16 MB.
_WAITING_MOST: Final = 8
_WAITING_BYTES: Final = 64 * 1024
_OK: Final = b"HTTP/1.1 200 OK\r\n"
_CHUNKED: Final = b"transfer-encoding: chunked\r\n\r\n"
_CHUNKED_AND_CLOSE: Final = b"connection: close\r\n" + _CHUNKED
_REFUSAL: Final = "\r\n".join(
    (
        "content-type: application/json",
        "cache-control: no-store",
        "x-content-type-options: nosniff",
        "connection: close",
        "",
    )
)

Headers = list[tuple[bytes, bytes]]
# Its `send` takes what there is room for, answers how much that was, and raises `OSError`.
DirectSocket = socket.SocketType


class StreamProtocol(HttpToolsProtocol):
    """Hands itself to the application and tells one watcher when writing stalls or the peer is gone."""

    # With ours among uvicorn's 28, Python would give each connection a dictionary of its own: 1.3 KB more.
    __slots__ = (
        "_head_bytes",
        "_head_timer",
        "_is_refused",
        "_leaves_at_eof",
        "_lost",
        "_on_stall",
        "_responding",
        "_room",
        "_socket",
        "is_lost",
    )

    def __init__(self, *args: Any, room: Room | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._room = room
        self._on_stall: Callable[[], None] | None = None
        self._lost: asyncio.Future[None] | None = None
        self._responding: RequestResponseCycle | None = None
        self._socket: DirectSocket | None = None
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._is_refused = False
        self._leaves_at_eof = False
        self.is_lost = False

    @property
    def is_writable(self) -> bool:
        return not self.flow.write_paused

    @property
    def direct_socket(self) -> DirectSocket | None:
        """The connection's socket, to send past the transport; None if that cannot be, because of TLS.

        Once `is_lost` sending fails with `OSError`, also when the kernel has given the descriptor to somebody else.
        """
        if self._socket is None and not self.is_lost:
            found = self.transport.get_extra_info("socket")
            if found is None or self.transport.get_extra_info("sslcontext") is not None:
                return None
            # Not a copy of the descriptor: a copy would keep the connection open when the transport has closed it.
            self._socket = DirectSocket(found.family, found.type, found.proto, found.fileno())
        return self._socket

    def watch(self, on_stall: Callable[[], None] | None) -> None:
        """Call `on_stall` when the write buffer passes its high-water mark, and when the connection is lost.

        Only one response is under way on a connection, also when further requests have been pipelined behind it.
        """
        self._on_stall = on_stall

    def leave_at_eof(self) -> None:
        """Take a peer that ends its half for one that leaves, though its answer has not begun."""
        self._leaves_at_eof = True

    async def lost(self) -> None:
        """Wait until the connection is closed and its buffer is flushed or dropped."""
        if self.is_lost:
            return
        self._lost = asyncio.get_running_loop().create_future()
        await self._lost

    def begin(self, headers: Headers, send: Send) -> bytes | None:
        """The head of a chunked 200, to be written next; None if `send` is not the server's own and has to be told.

        uvicorn examines every header of every response; these are ours.
        """
        cycle = self._responding
        if cycle is None or cycle.send != send:
            return None
        cycle.response_started, cycle.waiting_for_100_continue, cycle.chunked_encoding = True, False, True
        lines = [b"%b: %b\r\n" % header for header in (*cycle.default_headers, *headers)]
        ending = _CHUNKED if cycle.keep_alive else _CHUNKED_AND_CLOSE
        return b"".join([_OK, *lines, ending])

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """As uvicorn's, but for the addresses of both ends: two calls to the kernel for what nothing here asks."""
        self.connections.add(self)
        self.transport = transport
        self.flow = FlowControl(transport)
        self.scheme = "http"
        if self._room is not None and not self._room.has(transport.get_extra_info("socket").fileno()):
            self._is_refused = True
            transport.abort()
            return
        self._await_head()

    def data_received(self, data: bytes) -> None:
        if self._is_refused:
            return
        self._head_bytes += len(data)
        super().data_received(data)  # counts anew from where one thing ends and another begins, or is refused
        if self._head_bytes > _HEAD_BYTES:
            self._refuse_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self._leaves_at_eof = False
        if self._head_timer is None:  # a further request on this connection
            self._await_head()
        # The scope is a plain dict; the typed view of it knows only extensions that are dicts themselves.
        self.scope["extensions"] = {CONNECTION_EXTENSION: self}  # type: ignore[dict-item]

    def on_header(self, name: bytes, value: bytes) -> None:
        """A trailer, which comes when the head is over, is nothing that anybody here asks for."""
        if self._head_timer is None:
            return
        if len(self.headers) >= _HEAD_LINES:
            self._end_parsing(self._refuse_head)
        super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """Bound what is no body, such as a trailer, like a head: the parser would keep it, and read it without end.

        Who has begun to answer reads no further, so what still comes is not kept for it.
        """
        if self._head_timer is None:
            self._head_bytes = 0
        if self.cycle is None or not self.cycle.response_started:  # type: ignore[redundant-expr]  # None before any
            super().on_body(body)

    def on_headers_complete(self) -> None:
        """One read may bring the end of a head that is too large, so the head itself is measured as well."""
        if len(self.url) + _size_of(self.headers) > _HEAD_BYTES:
            self._end_parsing(self._refuse_head)
        self._forget_head()
        is_busy = self._responding is not None and not self._responding.response_complete
        if is_busy and self.parser.should_upgrade() and self._should_upgrade():
            self._end_parsing(self._refuse_to_wait)  # it would take the connection from a response under way
        super().on_headers_complete()
        if self.pipeline and self._too_much_waits():
            self._end_parsing(self._refuse_to_wait)

    def on_message_complete(self) -> None:
        self._forget_head()
        super().on_message_complete()
        if self.cycle is not None:  # as it is before an upgrade
            self.cycle.more_body = False  # uvicorn leaves it of what was answered early

    def on_response_complete(self) -> None:
        """Answered early, a body may still be coming: its rest is given as long as a head, whatever drips in."""
        answered = self._responding  # `cycle` is the last request that came, and may have a body of its own to come
        super().on_response_complete()
        if answered is not None and answered.more_body and self._head_timer is None and not self.transport.is_closing():
            self._await_head()

    def send_400_response(self, msg: str) -> None:
        """Answer invalid HTTP in the shape of every other error. Found in a body, it is the answer to that request."""
        if not self._is_refused and self._is_in_the_body_of_what_is_unanswered():
            _end(self.cycle)
        self._refuse(400, "This is not an HTTP request.")

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's closes always
        """Return whether the connection stays: for answers that are due to a peer that has said all it wanted to.

        One that ends its half while it is being answered is taken for one that leaves, as browsers do.
        """
        answering = self._responding
        if answering is None or answering.response_started or self.cycle.more_body:
            return False
        if self._is_refused or self._leaves_at_eof:
            return False
        self._forget_head()  # of a further request that will not come
        self.cycle.keep_alive = False
        return True

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._on_stall is not None:
            self._on_stall()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        if self._socket is not None:
            self._socket.detach()  # the transport closes it, after this
        self._forget_head()
        for cycle in (self._responding, *(waiting for waiting, _ in self.pipeline)):
            if cycle is not None and not cycle.response_complete:
                _end(cycle)  # uvicorn tells only the last that came
        self.pipeline.clear()
        super().connection_lost(exc)
        if self._on_stall is not None:
            self._on_stall()
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._responding = cycle
        super()._start_asgi_task(cycle, unchunked(app, cycle) if cycle.scope["http_version"] == "1.0" else app)

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(_HEAD_S, self._head_is_late)

    def _forget_head(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        self.transport.abort()

    def _too_much_waits(self) -> bool:
        if len(self.pipeline) > _WAITING_MOST:
            return True
        return sum(_head_size(cycle.scope) for cycle, _ in self.pipeline) > _WAITING_BYTES

    def _is_in_the_body_of_what_is_unanswered(self) -> bool:
        cycle = self._responding
        return cycle is not None and cycle is self.cycle and cycle.more_body and not cycle.response_started

    def _end_parsing(self, refuse: Callable[[], None]) -> NoReturn:
        """Refuse, and have the parser drop the rest of what was read."""
        refuse()
        raise ValueError("refused")

    def _refuse_to_wait(self) -> None:
        self._refuse(400, "Too many requests wait on this connection.")

    def _refuse_head(self) -> None:
        self._refuse(431, "The head of the request is too large.")

    def _refuse(self, status: int, message: str) -> None:
        """Answer without the application, and close. A response that is under way is cut instead.

        Once: what one read brings may be wrong in several ways.

        What still comes is read and dropped, for as long as a head is given: closing on unread bytes resets the
        connection, and the peer might lose the answer with it.
        """
        if self._is_refused:
            return
        self._is_refused = True
        self._forget_head()
        # uvicorn has no cycle before the first request, whatever its annotation says.
        is_free = self.cycle is None or (self.cycle.response_complete and not self.cycle.more_body)  # type: ignore[redundant-expr]
        if is_free:
            code = "invalid_request"
            body = json_line({"error": {"code": code, "message": message, "retryable": False}})
            head = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\n{_REFUSAL}content-length: {len(body)}\r\n\r\n"
            self.transport.write(head.encode() + body)
        if is_free and self.transport.can_write_eof():
            self.transport.write_eof()
            self._await_head()
        else:
            self.transport.close()


def _end(cycle: RequestResponseCycle) -> None:
    """Tell the application that nobody is there any more, and have nothing of its answer sent."""
    cycle.disconnected, cycle.more_body, cycle.response_complete = True, False, True
    cycle.message_event.set()


def _head_size(scope: HTTPScope) -> int:
    return len(scope["raw_path"]) + len(scope["query_string"]) + _size_of(scope["headers"])


def _size_of(headers: Iterable[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) + _AROUND_BYTES for name, value in headers)
