"""The client of `ask` and `tail`: create a stream, follow it over any number of edges, stop it.

Following survives everything but an answer that says no: a lost connection, a restarting edge or an edge that asks to
move all lead to the next edge with `Last-Event-ID`, and what has been received is never received again.
"""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import aiohttp
import orjson

from tailrace.edges import Edges, Patience
from tailrace.errors import ClientError, Refused
from tailrace.sse import SseDecoder

__all__ = ("Ending", "EventSink", "StreamEvent", "StreamReader")

TERMINAL_TYPES: Final = frozenset({"done", "error", "cancelled"})
# An edge sends at least a comment every 10 s (TAILRACE_EDGE_HEARTBEAT_S); two and a half missing are a dead line.
SILENCE_S: Final = 25.0
CONNECT_S: Final = 5.0
_STATS_S: Final = 2.0
_LONGEST_RETRY_AFTER_S: Final = 30.0
_PASSING: Final = frozenset({429, 500, 502, 503, 504})
_NOT_TAILRACE: Final = "is it the address of a Tailrace edge?"


@dataclass(frozen=True, slots=True)
class StreamEvent:
    """An event as it came: `id` is the cursor after it, absent on `start` and the like."""

    id: str | None
    fields: Mapping[str, Any]

    @property
    def type(self) -> str:
        kind: str = self.fields["type"]
        return kind


@dataclass(frozen=True, slots=True)
class Ending:
    """The end of following: with the terminal event, or with None because the cursor was at the end already (204)."""

    event: StreamEvent | None


EventSink = Callable[[StreamEvent], None]
Notice = Callable[[str], None]


class _Lost(Exception):
    """This connection is over, the stream is not: try again."""

    def __init__(self, why: str, *, wait_s: float | None = None) -> None:
        super().__init__(why)
        self.wait_s = wait_s


@dataclass(slots=True)
class _Progress:
    """The progress of a reader. The cursor moves only after the event has been handed on."""

    sink: EventSink
    cursor: str | None
    is_started: bool = False

    def take(self, event: StreamEvent) -> None:
        if event.type == "start":
            # Every connection without a cursor begins with one; only the first is news.
            if self.is_started:
                return
            self.is_started = True
        self.sink(event)
        self.cursor = event.id or self.cursor


def _nobody_listens(_: str) -> None:
    """The notice of a reader without a status line."""


@dataclass(slots=True)
class StreamReader:
    """Requests to edges. `notice` gets one sentence whenever a connection is lost and tried again."""

    session: aiohttp.ClientSession
    edges: Edges
    notice: Notice = _nobody_listens
    patience: Patience = field(default_factory=Patience)

    @classmethod
    @contextlib.asynccontextmanager
    async def open(cls, urls: Sequence[str], *, notice: Notice = _nobody_listens) -> AsyncIterator["StreamReader"]:
        """A reader with its own connections, closed at the end. Raises `ClientError` for what is no address."""
        edges = Edges.parse(urls)
        timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_S, sock_read=SILENCE_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            yield cls(session, edges, notice)

    async def create(self, body: Mapping[str, Any]) -> str:
        """Create a stream and return its id. Safe to repeat on another edge, thanks to its Idempotency-Key."""
        headers = {"Idempotency-Key": secrets.token_hex(16), "Content-Type": "application/json"}
        answer = await self._insist("POST", "/v1/streams", headers=headers, data=orjson.dumps(body))
        return str(answer["id"])

    async def providers(self) -> Sequence[Mapping[str, Any]]:
        """Return what `GET /v1/providers` lists: name, dialect, models, status."""
        answer = await self._insist("GET", "/v1/providers")
        providers: Sequence[Mapping[str, Any]] = answer["providers"]
        return providers

    async def workers(self) -> int | None:
        """Return how many workers take jobs, asked once and briefly; None where the edge does not know."""
        timeout = aiohttp.ClientTimeout(total=_STATS_S)
        try:
            async with self.session.get(f"{self.edges.current}/v1/stats", timeout=timeout) as response:
                return _count(orjson.loads(await response.read()))
        except (aiohttp.ClientError, TimeoutError, OSError, orjson.JSONDecodeError):
            return None  # only a remark depends on it

    async def cancel(self, stream_id: str) -> None:
        await self._insist("POST", f"/v1/streams/{stream_id}/cancel", json={})

    async def delete(self, stream_id: str) -> None:
        await self._insist("DELETE", f"/v1/streams/{stream_id}")

    async def follow(self, stream_id: str, sink: EventSink, *, after: str | None = None) -> Ending:
        """Hand every event after a cursor to `sink`, once and in order, until the stream is over.

        Raises `Refused` when an edge says no (unknown, expired), `ClientError` when no edge answers for too long.
        """
        progress = _Progress(sink, after)
        while True:
            try:
                return await self._follow_one(stream_id, progress)
            except _Lost as lost:
                await self._pause(lost)

    async def _follow_one(self, stream_id: str, progress: _Progress) -> Ending:
        # The status of a refusal, and not a connection that waits: another edge may do better.
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-cache", "Prefer": "wait=0"}
        if progress.cursor:
            headers["Last-Event-ID"] = progress.cursor
        with _connection_errors():
            response = await self.session.get(f"{self.edges.current}/v1/streams/{stream_id}/events", headers=headers)
        async with response:
            await _check(response)
            if response.status == 204:
                return Ending(None)
            if response.content_type != "text/event-stream":
                raise ClientError(f"{self.edges.current} does not send events", hint=_NOT_TAILRACE)
            return await self._read(response.content, progress)

    async def _read(self, content: aiohttp.StreamReader, progress: _Progress) -> Ending:
        decoder = SseDecoder()
        while chunk := await _chunk(content):
            for frame in decoder.feed(chunk):
                self.patience.refresh()
                event = StreamEvent(frame.id, frame.fields())
                if event.type == "reconnect":
                    raise _Lost("the edge is going away", wait_s=_seconds(event.fields.get("retry_ms")))
                progress.take(event)
                if event.type in TERMINAL_TYPES:
                    return Ending(event)
        raise _Lost("the connection ended", wait_s=_seconds(decoder.retry_ms))

    async def _insist(self, method: str, path: str, **options: Any) -> Mapping[str, Any]:
        """One request, on each edge in turn until one answers."""
        while True:
            try:
                with _connection_errors():
                    response = await self.session.request(method, f"{self.edges.current}{path}", **options)
                async with response:
                    await _check(response)
                    self.patience.refresh()
                    return _object(await _body(response))
            except _Lost as lost:
                await self._pause(lost)

    async def _pause(self, lost: _Lost) -> None:
        wait_s = self.patience.next_wait_s(lost.wait_s)
        if wait_s is None:
            hint = "is an edge running? `tailrace up` starts two; --url names another"
            raise ClientError(f"{self.edges.current}: {lost}", hint=hint)
        self.edges.advance()
        self.notice(f"{lost}; trying {self.edges.current} in {wait_s:.1f} s")
        await asyncio.sleep(wait_s)


@contextlib.contextmanager
def _connection_errors() -> Iterator[None]:
    """The boundary where aiohttp's exceptions become ours."""
    try:
        yield
    except TimeoutError as error:
        raise _Lost("the edge does not answer") from error
    except aiohttp.InvalidURL as error:
        raise ClientError(f"not the address of an edge: {error}") from error
    except aiohttp.ClientConnectorError as error:
        raise _Lost("cannot connect") from error
    except (aiohttp.ClientError, OSError) as error:
        raise _Lost("the connection was lost") from error


async def _chunk(content: aiohttp.StreamReader) -> bytes:
    # Within the boundary only the wait, never what is done with the bytes: a broken pipe of ours is no lost edge.
    with _connection_errors():
        return await content.readany()


async def _body(response: aiohttp.ClientResponse) -> bytes:
    with _connection_errors():
        return await response.read()


async def _check(response: aiohttp.ClientResponse) -> None:
    """Pass a good answer; raise `_Lost` for one that passes with time, `Refused` for a no."""
    if response.status < 300:
        return
    said = _object(await _body(response), fallback={}).get("error")
    error = said if isinstance(said, dict) else {}
    message = str(error.get("message") or f"the server answered {response.status}")
    if response.status in _PASSING:
        raise _Lost(message.rstrip("."), wait_s=_retry_after_s(response.headers.get("Retry-After")))
    raise Refused(message, status=response.status, code=str(error.get("code")))


def _object(body: bytes, fallback: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    try:
        value = orjson.loads(body or b"{}")
    except orjson.JSONDecodeError:
        value = fallback
    if not isinstance(value, dict):
        raise ClientError("the server's answer is not a JSON object", hint=_NOT_TAILRACE)
    return value


def _count(statistics: Any) -> int | None:
    workers = statistics.get("workers") if isinstance(statistics, dict) else None
    count = workers.get("count") if isinstance(workers, dict) else None
    return count if isinstance(count, int) else None


def _retry_after_s(header: str | None) -> float | None:
    return min(float(header), _LONGEST_RETRY_AFTER_S) if header and header.isdecimal() else None


def _seconds(milliseconds: Any) -> float | None:
    return milliseconds / 1000 if isinstance(milliseconds, int) else None
