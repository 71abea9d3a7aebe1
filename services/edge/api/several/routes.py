"""`GET /v1/events`: several streams on one connection."""

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.edge.access.caller import CallerOf
from services.edge.api.answers.event_stream import EventStream
from services.edge.api.asked import events_content, query_cursor, wanted_wire
from services.edge.api.asking import settings_of, streams_of
from services.edge.api.schemas import ErrorBody
from services.edge.api.several.body import SeveralReaders
from services.edge.delivery.reader import Reader
from services.edge.wires.ndjson import NDJSON
from services.edge.wires.sse import SSE
from shared.errors import InvalidCursor, InvalidRequest, StreamExpired, TailraceError, UnknownStream
from shared.log.position import MAX_EVENT_ID_CHARS, EventId

__all__ = ("router",)

_MOST_STREAMS: Final = 32
_PARAMETERS: Final[list[dict[str, Any]]] = [
    {"name": "streams", "in": "query", "required": True, "schema": {"type": "string"}, "description": "Ids, by comma."},
    {"name": "last-event-id", "in": "header", "required": False, "schema": {"type": "string"}},
    {"name": "after", "in": "query", "required": False, "schema": {"type": "string"}},
]

router = APIRouter(prefix="/v1")


_ERROR: Final = {"model": ErrorBody}
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"description": "The events, until all streams end.", "content": events_content([NDJSON, SSE])},
    204: {"description": "All streams are over and the cursor at their end."},
    **dict.fromkeys((400, 403, 404, 410, 503), _ERROR),
}


@router.get("/events", response_class=Response, responses=_RESPONSES, openapi_extra={"parameters": _PARAMETERS})
async def several_events(request: Request, caller: CallerOf) -> Response:
    """Read several streams at once. An event says which it is of, and its id is a cursor for all of them."""
    wire = wanted_wire(request, request.app.state.wires) or SSE
    if wire not in (SSE, NDJSON):
        raise InvalidRequest("Several streams can be read on the wires sse and ndjson.")
    stream_ids = _stream_ids(request)
    cursors = _cursors(request, len(stream_ids))
    readers: dict[int, Reader] = {}
    refusals: dict[str, TailraceError] = {}
    for place, stream_id in enumerate(stream_ids):
        try:
            reader = await streams_of(request).open(caller, stream_id, cursors[place] or None, NDJSON)
        except (UnknownStream, StreamExpired) as refusal:
            refusals[stream_id] = refusal
            continue
        if reader is not None:
            readers[place] = reader
    if len(refusals) == len(stream_ids):
        raise refusals[stream_ids[0]]
    if not readers:
        return Response(status_code=204)
    retry_ms = request.app.state.delivery.readers.retry_ms()
    body = SeveralReaders(wire, cursors, readers, refusals, stream_ids=stream_ids, retry_ms=retry_ms)
    settings = settings_of(request)
    return EventStream(body, send_timeout_s=settings.send_timeout_s, metrics=request.app.state.metrics)


def _stream_ids(request: Request) -> list[str]:
    stream_ids = request.query_params.get("streams", "").split(",")
    if not all(stream_ids) or len(set(stream_ids)) < len(stream_ids) or len(stream_ids) > _MOST_STREAMS:
        raise InvalidRequest(f"`streams` must name 1 to {_MOST_STREAMS} streams, each once.")
    return stream_ids


def _cursors(request: Request, number: int) -> list[str]:
    """One cursor for each stream, in their order; an empty one is none."""
    text = request.headers.get("last-event-id") or query_cursor(request)
    if text is None:
        return [""] * number
    cursors = text.split(",") if len(text) <= number * (MAX_EVENT_ID_CHARS + 1) else []
    if len(cursors) != number:
        raise InvalidCursor
    for cursor in filter(None, cursors):
        EventId.parse(cursor)
    return cursors
