"""The HTTP contract, version 1 (PROTOCOL.md, section 6). Routes translate; `streams.py` does."""

from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Header, Query, Request
from starlette.responses import Response

from services.edge.access.caller import Caller, CallerOf
from services.edge.api.answers.event_stream import EventStream
from services.edge.api.answers.json_answer import json_answer
from services.edge.api.answers.poll import POLL_EXAMPLE
from services.edge.api.answers.state import StateResponses, described
from services.edge.api.asked import (
    EVENTS_PARAMETERS,
    EventsAsked,
    asks_for_the_status,
    events_content,
    wanted_wire,
)
from services.edge.api.asking import create_from, follow, poll, settings_of, streams_of, validated
from services.edge.api.body import read_json
from services.edge.api.schemas import (
    Cancel,
    CancelAnswer,
    Created,
    CreateStream,
    ErrorBody,
    ProviderList,
    StreamList,
    StreamState,
    body_schema,
)
from services.edge.delivery.patience import PatientReader, is_for_now
from services.edge.delivery.reader import Reader
from services.edge.wires.registry import WIRES, Wires
from services.edge.wires.sse import SSE
from shared.errors import InvalidRequest, TailraceError
from shared.store.replies import Cancelling, Ended, Gone, Stale

__all__ = ("open_events", "router")

_ERROR: Final = {"model": ErrorBody}
_LOOK_UP: Final[dict[int | str, dict[str, Any]]] = {
    404: {**_ERROR, "description": "Unknown stream, or somebody else's."},
    410: {**_ERROR, "description": "The stream has expired or was deleted; `gone_ms` says when."},
    503: {**_ERROR, "description": "Redis cannot be reached, or this edge is draining. `Retry-After` says when."},
}
_EVENTS: Final = {
    "description": "The events, until the stream ends.",
    "content": events_content(WIRES),
}
_MAX_KEY_CHARS: Final = 255

_FROM_WHERE: Final = {**_ERROR, "description": "Not by this Host, or not from a page of this Origin."}

router = APIRouter(prefix="/v1", responses={403: _FROM_WHERE, 422: _ERROR})


@router.post(
    "/streams",
    status_code=201,
    response_model=Created,
    responses={
        200: {
            "model": Created,
            "description": "The stream that this Idempotency-Key led to before; or the events, if asked by `Accept`.",
            "content": _EVENTS["content"],
        },
        201: {"description": "Created. With `Accept: text/event-stream` the answer is the events themselves (200)."},
        400: _ERROR,
        404: {**_ERROR, "description": "No configured provider serves this model."},
        409: {**_ERROR, "description": "The Idempotency-Key was used with another body."},
        410: _LOOK_UP[410],
        413: _ERROR,
        422: _ERROR,
        503: _LOOK_UP[503],
    },
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": body_schema(CreateStream)}},
        }
    },
)
async def create_stream(
    request: Request,
    caller: CallerOf,
    idempotency_key: Annotated[str | None, Header(description="Repeat a create safely: same key, same stream.")] = None,
) -> Response:
    """Ask a model. The stream is pulled by a worker and outlives this connection."""
    wire = wanted_wire(request, _wires(request))
    body, raw = await read_json(request, max_bytes=settings_of(request).max_body_bytes)
    asked = validated(CreateStream, body)
    created = await create_from(request, caller, asked, raw, idempotency_key=_idempotency_key(idempotency_key))
    location = f"/v1/streams/{created.id}"
    if wire is not None:
        events = EventsAsked(None, wire, is_named=True)
        return await follow(request, caller, created.id, events, headers={"location": location})
    answer = Created(id=created.id, status=created.status, events_url=f"{location}/events")
    return json_answer(answer.model_dump(), 201 if created.is_new else 200, {"Location": location})


@router.get(
    "/streams/{stream_id}/events",
    response_class=Response,
    responses={
        200: {
            "description": f"{_EVENTS['description']} With `wait`, and no wire: what there is, as JSON.",
            "content": {**events_content(WIRES), "application/json": {"examples": {"poll": {"value": POLL_EXAMPLE}}}},
        },
        204: {"description": "The stream is over and the cursor at its end: nothing will ever come."},
        400: {**_ERROR, "description": "The cursor is no event id, or there is no such wire."},
        **_LOOK_UP,
    },
    openapi_extra={"parameters": EVENTS_PARAMETERS},
)
async def stream_events(request: Request, caller: CallerOf, stream_id: str) -> Response:
    """Read a stream: from its start, from a cursor, or from now on. Any edge, any number of readers."""
    return await open_events(request, caller, stream_id)


async def open_events(request: Request, caller: Caller, stream_id: str) -> Response:
    """Answer for `stream_events`; the fast path calls this directly."""
    asked = EventsAsked.by(request, _wires(request))
    if asked.wait_s is not None:
        return await poll(request, caller, stream_id, asked)
    try:
        return await follow(request, caller, stream_id, asked)
    except TailraceError as refusal:
        may_wait = asked.is_named and asked.wire is SSE and is_for_now(refusal)
        if not may_wait or asks_for_the_status(request):
            raise
        return _patient(request, caller, stream_id, asked)


@router.get("/streams/{stream_id}", response_model=StreamState, responses=_LOOK_UP)
async def stream_state(request: Request, caller: CallerOf, stream_id: str) -> Response:
    """The stream at this moment, with the message so far."""
    states: StateResponses = request.app.state.states
    return states.of(await streams_of(request).state(caller, stream_id))


@router.post(
    "/streams/{stream_id}/cancel",
    status_code=202,
    response_model=CancelAnswer,
    responses={400: _ERROR, 413: _ERROR, 422: _ERROR, **_LOOK_UP},
    openapi_extra={"requestBody": {"content": {"application/json": {"schema": body_schema(Cancel)}}}},
)
async def cancel_stream(request: Request, caller: CallerOf, stream_id: str) -> Response:
    """Stop a stream for all its readers. Leaving is not stopping: a closed connection cancels nothing."""
    body, _ = await read_json(request, max_bytes=settings_of(request).max_body_bytes)
    wanted = validated(Cancel, body)
    reply = await streams_of(request).cancel(caller, stream_id, attempt=wanted.attempt)
    match reply:
        case Cancelling():
            answer = CancelAnswer(id=stream_id, status="cancelling")
        case Ended():
            answer = CancelAnswer(id=stream_id, status="cancelled")
        case Stale():
            answer = CancelAnswer(id=stream_id, status="running", ignored=True)
        case Gone():
            answer = CancelAnswer(id=stream_id, status="gone", ignored=True)
        case _:
            answer = CancelAnswer(id=stream_id, status=reply.status, ignored=True)
    return json_answer(answer.model_dump(), 202)


@router.delete("/streams/{stream_id}", status_code=204, response_class=Response, responses=_LOOK_UP)
async def delete_stream(request: Request, caller: CallerOf, stream_id: str) -> Response:
    """Remove a stream and its text now. A live one ends for its readers, and its worker stops."""
    await streams_of(request).delete(caller, stream_id)
    return Response(status_code=204)


@router.get("/streams", response_model=StreamList, responses={400: _ERROR, 422: _ERROR, 503: _LOOK_UP[503]})
async def list_streams(
    request: Request,
    caller: CallerOf,
    status: Annotated[
        Literal["live", "finished", "queued", "running", "done", "error", "cancelled"] | None, Query()
    ] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,16}-[0-9a-f]{32}$")] = None,
) -> Response:
    """The caller's streams, newest first, without their content. Pages are stable: no stream that stays is missed."""
    page = await streams_of(request).listing(caller, status=status, limit=limit, cursor=cursor)
    return json_answer({"streams": [{**described(meta), "content": None} for meta in page.streams], "next": page.next})


@router.get("/stats", response_model=dict[str, Any], responses={503: _LOOK_UP[503]})
async def statistics(request: Request, caller: CallerOf) -> Response:
    """Counts and bytes over all streams, and of this edge."""
    return json_answer(await streams_of(request).statistics(caller))


@router.get("/providers", response_model=ProviderList)
async def providers(request: Request, caller: CallerOf) -> Response:
    """The configured providers and the models they serve; patterns such as `gpt-*` are shown as they are."""
    settings = settings_of(request)
    found = [
        {
            "name": provider.name,
            "dialect": provider.dialect,
            "models": provider.models,
            "offers": settings.offers_of(provider),
        }
        for provider in settings.providers
    ]
    return json_answer({"providers": found})


def _patient(request: Request, caller: Caller, stream_id: str, asked: EventsAsked) -> EventStream:
    """The same, begun before it can be: it waits on the connection for what is refused for now."""
    streams = streams_of(request)

    async def let_in() -> Reader | None:
        reader = await streams.open(caller, stream_id, asked.cursor, asked.wire, tail=asked.tail)
        if reader is not None and asked.wants_mark:
            reader.mark_when_current()
        return reader

    reader = PatientReader(let_in, request.app.state.delivery.readers, wire=asked.wire)
    settings = settings_of(request)
    return EventStream(reader, send_timeout_s=settings.send_timeout_s, metrics=request.app.state.metrics)


def _idempotency_key(text: str | None) -> str | None:
    if text is None:
        return None
    if not 1 <= len(text) <= _MAX_KEY_CHARS or not (text.isascii() and text.isprintable()):
        raise InvalidRequest(f"Idempotency-Key must be 1 to {_MAX_KEY_CHARS} printable ASCII characters.")
    return text


def _wires(request: Request) -> Wires:
    wires: Wires = request.app.state.wires
    return wires
