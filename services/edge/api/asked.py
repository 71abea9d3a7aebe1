"""A request for events: parsed once, for the route and for the fast path."""

import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from starlette.requests import HTTPConnection, Request

from services.edge.wires.ndjson import NDJSON
from services.edge.wires.registry import Wires
from services.edge.wires.sse import SSE
from services.edge.wires.wire import Wire
from shared.errors import InvalidRequest
from shared.log.position import MAX_EVENT_ID_CHARS

__all__ = ("EVENTS_PARAMETERS", "EventsAsked", "asks_for_the_status", "events_content", "query_cursor", "wanted_wire")

# In the order in which they count; the header `Last-Event-ID` wins over all of them.
_QUERY_CURSORS: Final = ("last_event_id", "lastEventID", "lastEventId", "after")
_SECONDS: Final = re.compile(r"[0-9]{1,2}")
# Below the minute after which proxies give a silent server up.
_MOST_WAIT_S: Final = 50
_NUMBER: Final = re.compile(r"[1-9][0-9]{0,14}")
_WAIT: Final = (
    "With `Accept: text/event-stream` whatever is refused for now is answered 200, and the connection waits: an"
    " EventSource never asks again after a 503. `0`, or the header `Prefer: wait=0`, asks for the status instead."
    " For requests that name no wire it is a long poll: the events as one JSON document, as soon as there are any, or"
    " after so many seconds (1 to 50, or 0 with `Accept: application/json`)."
)


def _parameter(name: str, place: str, description: str) -> dict[str, Any]:
    return {"name": name, "in": place, "required": False, "schema": {"type": "string"}, "description": description}


# For the OpenAPI page. `Accept` has its own place there, and the other spellings are for whoever knows them.
EVENTS_PARAMETERS: Final = [
    _parameter("last-event-id", "header", "Resume after this event; wins over the query."),
    _parameter("last_event_id", "query", "The same for clients without headers."),
    _parameter("after", "query", "An event id, or `now` for new events only."),
    _parameter("wait", "query", _WAIT),
    _parameter("tail", "query", "Without a cursor: no more than the last so many units. What is left out is a `gap`."),
    _parameter(
        "live", "query", "`mark`: an event `live` says when the reader has all there is. Only on our own wires."
    ),
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
    tail: int | None = None
    wants_mark: bool = False
    wait_s: int | None = None

    @classmethod
    def by(cls, request: Request, wires: Wires) -> "EventsAsked":
        """Raises `InvalidRequest` for a wire that there is not, and for what is no wish."""
        cursor = _header(request, b"last-event-id") or query_cursor(request)
        if cursor is not None:
            cursor = cursor[: MAX_EVENT_ID_CHARS + 1]  # refused all the same, without carrying more of it along
        wanted = wanted_wire(request, wires)
        wire = wanted or wires.default
        tail, wants_mark = _wishes(request, wire) if request.scope["query_string"] else (None, False)
        wait_s = _wait_s(request) if wanted is None else None
        return cls(cursor, wire, wanted is not None, tail, wants_mark, wait_s)


def wanted_wire(request: Request, wires: Wires) -> Wire | None:
    """The wire that the query names, or the `Accept` header; None if none is named."""
    name = request.query_params.get("wire") if request.scope["query_string"] else None
    return wires.wanted(accept=_header(request, b"accept") or "", name=name)


def _wishes(request: Request, wire: Wire) -> tuple[int | None, bool]:
    """The number of last units that are wanted, and whether a mark is."""
    tail, live = request.query_params.get("tail"), request.query_params.get("live")
    if tail is not None and not _NUMBER.fullmatch(tail):
        raise InvalidRequest("`tail` must be a number of units, 1 or more.")
    if live not in (None, "mark"):
        raise InvalidRequest("`live` can only be `mark`.")
    if (tail or live) and wire not in (SSE, NDJSON):
        raise InvalidRequest("`tail` and `live` are for the wires sse and ndjson.")
    return int(tail) if tail else None, live is not None


def _wait_s(request: Request) -> int | None:
    """The time that a long poll may take; None if it is no such request. Without a wire, JSON is meant."""
    wait = request.query_params.get("wait") if request.scope["query_string"] else None
    if wait is None:
        return None
    if not _SECONDS.fullmatch(wait) or int(wait) > _MOST_WAIT_S:
        raise InvalidRequest(f"`wait` must be a number of seconds, 0 to {_MOST_WAIT_S}.")
    is_json = "application/json" in (_header(request, b"accept") or "")
    return int(wait) if int(wait) or is_json else None


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
