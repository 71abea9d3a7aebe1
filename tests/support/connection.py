"""One connection of an edge without the edge: its protocol, and the other end of its socket."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.server import ServerState

from services.edge.carriers.uvicorn_protocol import StreamProtocol

__all__ = ("accepted",)


async def _no_app(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError(scope)


@asynccontextmanager
async def accepted(app: ASGIApp = _no_app) -> AsyncIterator[tuple[StreamProtocol, socket.socket]]:
    """A connection to an application, and its peer's socket, which does not block."""
    config = uvicorn.Config(app, ws="none", lifespan="off", log_config=None)
    config.load()
    protocol = StreamProtocol(config=config, server_state=ServerState(), app_state={})
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, ours)
    try:
        yield protocol, theirs
    finally:
        protocol.transport.abort()
        await protocol.lost()
        theirs.close()
