"""uvicorn's WebSocket protocol, and what a stream needs of it: to write to the connection itself.

Private attributes of uvicorn are used here and in `uvicorn_protocol.py`, checked with 0.54.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Request

from services.edge.carriers.uvicorn_protocol import CONNECTION_EXTENSION, DirectSocket

__all__ = ("WebSocketProtocol",)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Hands itself to the application, and tells its watchers when writing stalls or the peer is gone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._watchers: set[Callable[[], None]] = set()
        self._lost = asyncio.Event()
        self._socket: DirectSocket | None = None

    @property
    def is_lost(self) -> bool:
        """Return whether nothing that is written now arrives."""
        return self.disconnected or self.close_sent or self.transport.is_closing()

    @property
    def is_writable(self) -> bool:
        return self.writable.is_set()

    @property
    def direct_socket(self) -> DirectSocket | None:
        """The connection's socket, to send past the transport; None with TLS."""
        if self._socket is None and not self.disconnected:
            found = self.transport.get_extra_info("socket")
            if found is None or self.transport.get_extra_info("sslcontext") is not None:
                return None
            self._socket = DirectSocket(found.family, found.type, found.proto, found.fileno())
        return self._socket

    def watch(self, on_stall: Callable[[], None]) -> None:
        """Call `on_stall` when the write buffer passes its high-water mark, and when the connection is lost."""
        self._watchers.add(on_stall)

    def unwatch(self, on_stall: Callable[[], None]) -> None:
        self._watchers.discard(on_stall)

    async def lost(self) -> None:
        """Wait until the connection is closed."""
        await self._lost.wait()

    def handle_connect(self, event: Request) -> None:
        super().handle_connect(event)
        if self.response.status_code == 101:
            self.scope["extensions"][CONNECTION_EXTENSION] = self  # type: ignore[assignment]

    def pause_writing(self) -> None:
        super().pause_writing()
        self._tell()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._socket is not None:
            self._socket.detach()  # the transport closes it
        super().connection_lost(exc)
        self._lost.set()
        self._tell()

    def _tell(self) -> None:
        for on_stall in list(self._watchers):
            on_stall()
