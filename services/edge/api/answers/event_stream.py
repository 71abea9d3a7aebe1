"""The response whose body is a stream."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.edge.carriers.asgi import AsgiCarrier
from services.edge.carriers.carrier import Carrier, Disconnected, SlowReader
from services.edge.carriers.selection import carrier_for
from services.edge.wires.wire import Wire
from shared.telemetry.metrics import Metrics

__all__ = ("Body", "EventStream")

# `no-transform` keeps compressing proxies away, X-Accel-Buffering keeps nginx from collecting events.
_HEADERS: Final = [
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
]


class Body(Protocol):
    """The source of a response's body: a reader, or one that waits to become one."""

    wire: Wire

    async def run(self, carrier: Carrier) -> None: ...

    def stall(self) -> None: ...

    def disconnect(self) -> None: ...


class EventStream(Response):
    """Runs a reader over the connection; ends when the reader does, or when its peer has left."""

    def __init__(
        self,
        reader: Body,
        *,
        send_timeout_s: float,
        metrics: Metrics,
        headers: Mapping[str, str] | None = None,
        on_left: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`on_left` is awaited if the peer leaves before the end."""
        self.status_code = 200
        self.background = None
        self._reader = reader
        self._send_timeout_s = send_timeout_s
        self._metrics = metrics
        self._more_headers = headers or {}
        self._on_left = on_left

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        carrier = carrier_for(scope, receive, send, timeout_s=self._send_timeout_s, on_stall=self._reader.stall)
        try:
            more = [(name.encode(), value.encode("latin-1")) for name, value in self._more_headers.items()]
            wire = self._reader.wire
            await carrier.start([(b"content-type", wire.media_type.encode()), *_HEADERS, *wire.headers, *more])
            if isinstance(carrier, AsgiCarrier):
                await self._run_watched(carrier, receive)
            else:
                await self._reader.run(carrier)
        except Disconnected as left:
            if isinstance(left, SlowReader):
                self._metrics.slow_readers_cut.inc()
            await carrier.drop()
            if self._on_left is not None:
                await self._on_left()
        finally:
            carrier.release()

    async def _run_watched(self, carrier: AsgiCarrier, receive: Receive) -> None:
        """Without the connection at hand, a task has to wait for the news that the peer has left."""
        left: Disconnected | None = None
        async with asyncio.TaskGroup() as group:
            watcher = group.create_task(self._watch(receive))
            try:
                await self._reader.run(carrier)
            except Disconnected as disconnected:
                left = disconnected  # raised below, where no group wraps it
            finally:
                watcher.cancel()
        if left is not None:
            raise left

    async def _watch(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            continue
        self._reader.disconnect()
