"""uvicorn's HTTP protocol, plus one thing: the ASGI scope names the connection, so that a stream can write to it."""

import asyncio
from collections.abc import Callable
from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

__all__ = ("CONNECTION_EXTENSION", "StreamProtocol")

CONNECTION_EXTENSION: Final = "tailrace.connection"


class StreamProtocol(HttpToolsProtocol):
    """Hands itself to the application and tells one watcher when writing stalls or the peer is gone."""

    _on_stall: Callable[[], None] | None = None
    _lost: asyncio.Future[None] | None = None
    is_lost = False

    @property
    def is_writable(self) -> bool:
        return not self.flow.write_paused

    def watch(self, on_stall: Callable[[], None] | None) -> None:
        """Call `on_stall` when the write buffer passes its high-water mark, and when the connection is lost.

        Only one response is under way on a connection, also when further requests have been pipelined behind it.
        """
        self._on_stall = on_stall

    async def lost(self) -> None:
        """Wait until the connection is closed and its buffer is flushed or dropped."""
        if self.is_lost:
            return
        self._lost = asyncio.get_running_loop().create_future()
        await self._lost

    def on_message_begin(self) -> None:
        super().on_message_begin()
        # The scope is a plain dict; the typed view of it knows only extensions that are dicts themselves.
        self.scope["extensions"] = {CONNECTION_EXTENSION: self}  # type: ignore[dict-item]

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._on_stall is not None:
            self._on_stall()

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_lost = True
        super().connection_lost(exc)
        if self._on_stall is not None:
            self._on_stall()
        if self._lost is not None and not self._lost.done():
            self._lost.set_result(None)
