"""A response body through ASGI `send`, for servers that offer no transport, and for HTTP/1.0."""

import asyncio
from typing import Any

from starlette.types import Send

from services.edge.carriers.carrier import Disconnected, SlowReader
from services.edge.carriers.uvicorn_protocol import DirectSocket, Headers

__all__ = ("AsgiCarrier",)


class AsgiCarrier:
    """For servers that offer no transport, and for HTTP/1.0."""

    wrap = None

    def __init__(self, send: Send, *, timeout_s: float) -> None:
        self._send = send
        self._timeout_s = timeout_s

    async def start(self, headers: Headers) -> None:
        await self._deliver({"type": "http.response.start", "status": 200, "headers": headers})

    async def ready(self) -> None:
        """ASGI servers wait inside `send`."""

    async def send(self, payload: bytes) -> None:
        await self._deliver({"type": "http.response.body", "body": payload, "more_body": True})

    def write(self, wrapped: bytes) -> DirectSocket | None:
        raise RuntimeError("an ASGI carrier cannot write without waiting")

    async def end(self) -> None:
        await self._deliver({"type": "http.response.body", "body": b"", "more_body": False})

    async def cut(self) -> None:
        # ASGI knows no way to break a response off; a clean end is what there is.
        await self.end()

    def abort(self) -> None:
        """ASGI has no word for it; the deadline of the send ends it."""

    async def drop(self) -> None:
        """See `abort`."""

    def release(self) -> None:
        """Nothing is held."""

    async def _deliver(self, message: dict[str, Any]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._send(message)
        except TimeoutError as error:
            raise SlowReader from error
        except OSError as error:
            raise Disconnected from error
