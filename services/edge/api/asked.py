"""A request for events: parsed once, for the route and for the fast path."""

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from starlette.requests import HTTPConnection, Request

from services.edge.wires.registry import Wires
from services.edge.wires.wire import Wire
from shared.log.position import MAX_EVENT_ID_CHARS

__all__ = ("EVENTS_PARAMETERS", "EventsAsked", "asks_for_the_status", "events_content", "query_cursor", "wanted_wire")

# In the order in which they count; the header `Last-Event-ID` wins over all of them.
_QUERY_CURSORS: Final = ("last_event_id", "lastEventID", "lastEventId", "after")
_WAIT: Final = (
    "With `Accept: text/event-stream` whatever is refused for now is answered 200, and the connection waits: an"
    " EventSource never asks again after a 503. `0`, or the header `Prefer: wait=0`, asks for the status instead."
)


def _parameter(name: str, place: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": False, "schema": {"type": "string"}, "description": description}


# For the OpenAPI page. `Accept` has its own place there, and the other spellings are for whoever knows them.
EVENTS_PARAMETERS: Final = [
    _parameter("last-event-id", "header", "Resume after this event; wins over the query."),
    _parameter("last_event_id", "query", "The same for clients without headers."),
    _parameter("after", "query", "An event id, or `now` for new events only."),
    _parameter("wait", "query", _WAIT),
    _parameter("wire", "query", "The wire by name, for clients that cannot choose their `Accept`; wins over it."),
]


def events_content(wires: Iterable[Wire]) -> dict[str, dict[str, Any]]:
    """An example of every wire by its media type, as OpenAPI has it."""
    content: dict[str, dict[str, Any]] = {}
    for wire in wires:
        shown = content.setdefault(wire.media_type.partition(";")[0], {"examples": {}})
        shown["examples"][wire.name] = {"value": wire.example}
    return content


class EventsAsked(NamedTuple):
    """A cursor as it was given, and the wire to be told on, which was named or is the default."""

    cursor: str | None
    wire: Wire
    is_named: bool

    @classmethod
    def by(cls, request: Request, wires: Wires) -> "EventsAsked":
        """Raises `InvalidRequest` for a wire that there is not."""
        cursor = _header(request, b"last-event-id") or query_cursor(request)
        if cursor is not None:
            cursor = cursor[: MAX_EVENT_ID_CHARS + 1]  # refused all the same, without carrying more of it along
        wanted = wanted_wire(request, wires)
        return cls(cursor, wanted or wires.default, wanted is not None)


def wanted_wire(request: Request, wires: Wires) -> Wire | None:
    """The wire that the query names, or the `Accept` header; None if none is named."""
    name = request.query_params.get("wire") if request.scope["query_string"] else None
    return wires.wanted(accept=_header(request, b"accept") or "", name=name)


def asks_for_the_status(request: Request) -> bool:
    """Return whether the client wants a refusal as a status rather than a connection that waits."""
    return request.query_params.get("wait") == "0" or "wait=0" in request.headers.get("prefer", "")


def _header(request: Request, wanted: bytes) -> str | None:
    """The first header of this name. Starlette's own look-up decodes all of them first."""
    for name, value in request.scope["headers"]:
        if name == wanted:
            found: str = value.decode("latin-1")
            return found
    return None


def query_cursor(request: HTTPConnection) -> str | None:
    """The cursor in the query, for clients that have no header for it."""
    if not request.scope["query_string"]:
        return None
    query = request.query_params
    return next(filter(None, map(query.get, _QUERY_CURSORS)), None)
