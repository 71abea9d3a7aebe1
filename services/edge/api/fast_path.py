"""The layer in front of the application: the rule of origins, and a way to the events past all other layers.

Thousands of readers can do without the layers that other requests need.

The route in `routes.py` documents the call, and what it does is done here too; only FastAPI's validation, its exit
stacks and everybody's middlewares are left out. Measured with 2,700 idle readers: 30.3 KB resident and 1.13 ms of
CPU to connect for each with those layers, 19.8 KB and 0.84 ms without FastAPI's, 15.2 and 0.72 in front of everything.
"""

import logging
import re
from typing import Final

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.edge.access.caller import caller_of
from services.edge.access.origin import OriginRule
from services.edge.api.ai_sdk.socket import ChatSocket
from services.edge.api.answers.problems import answer, unexpected
from services.edge.api.routes import open_events
from services.edge.api.socket import SocketSession
from shared.errors import TailraceError

__all__ = ("EventsFastPath",)

logger = logging.getLogger(__name__)

_PATH: Final = re.compile(r"/v1/streams/([^/]+)/events")
_CHAT_SOCKET_PATH: Final = "/api/chat/ws"
_SOCKET_PATH: Final = re.compile(rf"/v1/(?:streams/([^/]+)/)?ws|{_CHAT_SOCKET_PATH}")


class EventsFastPath:
    """The application, with `GET /v1/streams/{id}/events` answered in front of it; neither is for everybody."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app
        self._rule = OriginRule.of(app.state.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            scope["app"] = self._app
        if scope["type"] == "websocket":
            await self._connect(scope, receive, send)
            return
        refusal = self._rule.refusal(scope) if scope["type"] == "http" else None
        if refusal is not None:
            refused = await answer(Request(scope), refusal)
            await refused(scope, receive, send)
            return
        found = _PATH.fullmatch(scope["path"]) if scope["type"] == "http" and scope["method"] == "GET" else None
        if found is None:
            await self._app(scope, receive, send)
            return
        # Made elsewhere, so that nothing of the request is held while the response lasts.
        response = await _response(Request(scope), found[1])
        await response(scope, receive, send)

    async def _connect(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A WebSocket; before it is accepted a refusal can only be a status."""
        found = _SOCKET_PATH.fullmatch(scope["path"])
        if found is None or self._rule.refusal(scope) is not None:
            await receive()
            await send({"type": "websocket.close"})
            return
        if scope["path"] == _CHAT_SOCKET_PATH:
            await ChatSocket(scope, receive, send).run()
        else:
            await SocketSession(scope, receive, send, stream_id=found[1]).run()


async def _response(request: Request, stream_id: str) -> Response:
    try:
        return await open_events(request, await caller_of(request), stream_id)
    except TailraceError as error:
        return await answer(request, error)
    except Exception as error:  # as Starlette does: the traceback is for the log, the reader gets a sentence
        logger.exception("the events route failed")
        return await unexpected(request, error)
