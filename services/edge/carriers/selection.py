"""The best carrier that a connection allows."""

from collections.abc import Callable

from starlette.types import Receive, Scope, Send

from services.edge.carriers.asgi import AsgiCarrier
from services.edge.carriers.chunked import ChunkedCarrier
from services.edge.carriers.uvicorn_protocol import CONNECTION_EXTENSION

__all__ = ("carrier_for",)


def carrier_for(
    scope: Scope, receive: Receive, send: Send, *, timeout_s: float, on_stall: Callable[[], None]
) -> AsgiCarrier | ChunkedCarrier:
    """The best carrier this connection allows. `on_stall` is called when its buffer fills up, and when it is lost."""
    connection = scope.get("extensions", {}).get(CONNECTION_EXTENSION)
    if connection is None or scope["http_version"] != "1.1":
        return AsgiCarrier(send, timeout_s=timeout_s)
    return ChunkedCarrier(connection, send, timeout_s=timeout_s, on_stall=on_stall)
