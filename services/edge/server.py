"""One edge process: our listening socket, our protocol, our way of going away. The rest is uvicorn's."""

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import Generator

import uvicorn
from fastapi import FastAPI

from services.edge.api.fast_path import EventsFastPath
from services.edge.carriers.uvicorn_protocol import StreamProtocol
from shared.settings.settings import Settings

__all__ = ("EdgeServer", "listening_socket", "serve")

logger = logging.getLogger(__name__)

# What a reader that has stopped reading may hold up in the kernel (beside SO_SNDBUF), and for how long.
_NOT_SENT_LOW_WATER_BYTES = 16 * 1024
_KEEPALIVE_IDLE_S, _KEEPALIVE_INTERVAL_S, _KEEPALIVE_PROBES = 15, 5, 3
_BACKLOG = 4096
# Of the drain time: first the readers leave, then what other requests are under way may finish.
_READERS_SHARE, _REQUESTS_SHARE = 0.7, 0.2


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
        super().__init__(
            uvicorn.Config(
                EventsFastPath(app),
                http=StreamProtocol,
                proxy_headers=False,  # whoever the peer is, nothing here depends on it
                loop="uvloop",
                ws="none",
                lifespan="on",
                access_log=False,
                server_header=False,
                log_config=None,
                backlog=_BACKLOG,
                timeout_graceful_shutdown=max(1, round(_REQUESTS_SHARE * settings.edge_drain_s)),
            )
        )
        self._app = app
        self._settings = settings

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take SIGTERM and SIGINT on the loop, and leave with exit code 0; uvicorn would die of the signal again."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        try:
            yield
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, so that whoever reconnects lands elsewhere; move the readers; then let uvicorn finish."""
        self._app.state.streams.is_draining = True
        for server in self.servers:
            server.close()
        readers = self._app.state.delivery.readers
        logger.info("draining", extra={"readers": len(readers)})
        await readers.drain(_READERS_SHARE * self._settings.edge_drain_s)
        await super().shutdown(sockets)

    def _stop(self) -> None:
        self.force_exit = self.should_exit
        self.should_exit = True


async def serve(app: FastAPI, settings: Settings) -> None:
    """Run one edge until SIGTERM or SIGINT; then drain and return. Raises `OSError` if the port is taken."""
    sock = listening_socket(settings)
    host, port = sock.getsockname()[:2]
    logger.info("edge listening", extra={"url": f"http://{host}:{port}"})
    await EdgeServer(app, settings).serve(sockets=[sock])
