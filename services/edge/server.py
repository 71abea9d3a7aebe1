"""One edge process: our listening socket, our protocol, our way of going away. The rest is uvicorn's."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Generator
from functools import partial

import uvicorn
from fastapi import FastAPI

from services.edge.access.cross_origin import readable_elsewhere
from services.edge.api.fast_path import EventsFastPath
from services.edge.carriers.room import Room
from services.edge.carriers.uvicorn_protocol import StreamProtocol
from services.edge.carriers.websocket_protocol import WebSocketProtocol
from shared.descriptors import most_descriptors
from shared.settings.settings import Settings
from shared.signals import heeded

__all__ = ("EdgeServer", "listening_socket", "serve")

logger = logging.getLogger(__name__)

# What a reader that has stopped reading may hold up in the kernel (beside SO_SNDBUF), and for how long.
_NOT_SENT_LOW_WATER_BYTES = 16 * 1024
_KEEPALIVE_IDLE_S, _KEEPALIVE_INTERVAL_S, _KEEPALIVE_PROBES = 15, 5, 3
_BACKLOG = 4096
# Of the drain time: first the readers leave, then what other requests are under way may finish.
_READERS_SHARE, _REQUESTS_SHARE = 0.7, 0.2
# uvicorn looks every 0.1 s whether it is to stop, and then waits for another 0.1.
_UVICORN_S = 0.3


def listening_socket(settings: Settings) -> socket.socket:
    """A bound socket whose options every accepted connection inherits.

    Without them a client that never reads costs 3.8 MB of kernel memory and never goes away; with them 66 KB, and it
    is closed after `send_timeout_s` even if its machine has vanished.
    """
    family = socket.AF_INET6 if ":" in settings.edge_host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, settings.send_buffer_bytes // 2)  # the kernel doubles it
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option, value in (
        ("TCP_USER_TIMEOUT", round(settings.send_timeout_s * 1000)),
        ("TCP_NOTSENT_LOWAT", _NOT_SENT_LOW_WATER_BYTES),
        ("TCP_KEEPIDLE", _KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", _KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", _KEEPALIVE_PROBES),
    ):
        if hasattr(socket, option):  # Linux has all of them
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)
    try:
        sock.bind((settings.edge_host, settings.edge_port))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


class EdgeServer(uvicorn.Server):
    """uvicorn, which by itself never tells a stream that the server is stopping and waits for ever by default."""

    def __init__(self, app: FastAPI, settings: Settings) -> None:
        room = Room(most_descriptors(), app.state.metrics.connections_refused)
        super().__init__(
            uvicorn.Config(
                readable_elsewhere(EventsFastPath(app), settings),
                http=partial(StreamProtocol, room=room),  # type: ignore[arg-type]  # it only calls it
                proxy_headers=False,  # whoever the peer is, nothing here depends on it
                loop="uvloop",
                ws=WebSocketProtocol,
                ws_per_message_deflate=False,  # so that all readers share their messages
                ws_max_size=settings.max_body_bytes,
                lifespan="on",
                access_log=False,
                server_header=False,
                log_config=None,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=1,  # by then there is nothing left to wait for
            )
        )
        self._app = app
        self._settings = settings
        self._patience: asyncio.Timeout | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take signals on the loop, and leave with exit code 0; uvicorn would die of the signal again."""
        with heeded(self._stop):
            yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, so that whoever reconnects lands elsewhere; move the readers; then let uvicorn finish."""
        self._app.state.streams.is_draining = True
        for server in self.servers:
            server.close()
        logger.info("draining", extra={"readers": len(self._app.state.delivery.readers)})
        drain_s = self._settings.edge_drain_s
        drain_s = max(drain_s - _UVICORN_S, drain_s / 2)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0 if self.force_exit else drain_s) as self._patience:
                await self._drain(drain_s)
        self._patience = None
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        self.force_exit = False  # uvicorn would leave the lifespan without its end
        await super().shutdown(sockets)

    async def _drain(self, drain_s: float) -> None:
        """Let readers and requests end, each in its share of the time."""
        await self._app.state.delivery.readers.drain(_READERS_SHARE * drain_s)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        if self.server_state.tasks:
            await asyncio.wait(set(self.server_state.tasks), timeout=_REQUESTS_SHARE * drain_s)

    def _stop(self) -> None:
        """Told once, drain; told again, cut whoever is left."""
        self.force_exit = self.should_exit
        self.should_exit = True
        if self.force_exit and self._patience is not None:
            self._patience.reschedule(asyncio.get_running_loop().time())


async def serve(app: FastAPI, settings: Settings) -> None:
    """Run one edge until a signal stops it; then drain and return. Raises `OSError` if the port is taken."""
    sock = listening_socket(settings)
    host, port = sock.getsockname()[:2]
    logger.info("edge listening", extra={"url": f"http://{host}:{port}"})
    await EdgeServer(app, settings).serve(sockets=[sock])
