"""The answer of a long poll: the events after a cursor as one JSON document, as soon as there are any."""

import asyncio
from typing import Final

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.edge.api.answers.json_answer import JSON_HEADERS, JSON_TYPE
from services.edge.api.answers.problems import answer
from services.edge.carriers.carrier import Disconnected
from services.edge.carriers.uvicorn_protocol import DirectSocket, Headers
from services.edge.delivery.reader import Reader
from services.edge.wires.native import is_of_the_connection
from shared.errors import StoreMisused

__all__ = ("POLL_EXAMPLE", "Poll")

POLL_EXAMPLE: Final = {
    "events": [{"type": "text", "delta": "Hello", "event_id": "1-5.9f2c01ab"}],
    "cursor": "1-5.9f2c01ab",
    "over": False,
}


class Poll(Response):
    """Runs a reader, whose wire is NDJSON, until it has brought something, or for `wait_s`; then answers."""

    def __init__(self, reader: Reader, *, wait_s: float) -> None:
        self.status_code = 200
        self.background = None
        self._reader = reader
        self._wait_s = wait_s
        self._has_left = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        basket = _Basket()
        async with asyncio.TaskGroup() as group:
            departure = group.create_task(self._watch(receive))
            try:
                await self._fill(basket)
            finally:
                departure.cancel()
        if not self._has_left:
            response = await self._response(basket, Request(scope))
            await response(scope, receive, send)

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            continue
        self._has_left = True
        self._reader.disconnect()

    async def _fill(self, basket: "_Basket") -> None:
        if not self._wait_s:
            basket.on_ready = self._reader.leave  # after the one step that it is about to take
        deadline = asyncio.get_running_loop().call_later(self._wait_s or _ONE_STEP_S, self._reader.leave)
        try:
            await self._reader.run(basket)
        except Disconnected:
            basket.is_broken = not basket.is_full
        finally:
            deadline.cancel()

    async def _response(self, basket: "_Basket", request: Request) -> Response:
        if basket.is_broken:
            return await answer(request, StoreMisused())
        cursor = self._reader.cursor
        last = b'"%b"' % str(cursor).encode() if cursor.nonce else b"null"
        over = b"true" if basket.is_complete else b"false"
        body = b'{"events":[%b],"cursor":%b,"over":%b}' % (basket.events(), last, over)
        return Response(body, headers=JSON_HEADERS, media_type=JSON_TYPE)


_ONE_STEP_S: Final = 5.0


class _Basket:
    """A carrier that keeps what it is given, and ends the reader once that is something."""

    wrap = None

    def __init__(self) -> None:
        self.is_full = False
        self.is_complete = False
        self.is_broken = False
        self.on_ready = _stand_by
        self._payloads: list[bytes] = []
        self._is_open = False

    def events(self) -> bytes:
        """The lines as members of an array. A line end within a text is escaped."""
        return b",".join(b"".join(self._payloads).splitlines())

    async def start(self, headers: Headers) -> None:
        """The head comes at the end."""

    async def ready(self) -> None:
        """A page at a time: the rest is for the next poll."""
        if self.is_full:
            raise Disconnected
        self._is_open = True
        self.on_ready()

    async def send(self, payload: bytes) -> None:
        if not payload or (self._begins_a_line and is_of_the_connection(payload)):
            return
        self._payloads.append(payload)
        # What a reader is told before anything else tells it nothing that it could go on from.
        self.is_full = self._is_open

    @property
    def _begins_a_line(self) -> bool:
        return not self._payloads or self._payloads[-1].endswith(b"\n")

    def write(self, wrapped: bytes) -> DirectSocket | None:
        raise RuntimeError("nothing is written to a reader that is collected")

    async def end(self) -> None:
        self.is_complete = True

    async def cut(self) -> None:
        """Time is up, or the edge goes away: what there is is the answer."""

    def abort(self) -> None:
        """The reader knows already."""

    async def drop(self) -> None:
        """Nothing is held."""

    def release(self) -> None:
        """Nothing is held."""


def _stand_by() -> None:
    """Nothing has to be done."""
