"""OpenAI's Responses API, in the foreground and in the background, with its own cursor."""

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response

from services.edge.access.caller import Caller, CallerOf
from services.edge.api.answers.json_answer import json_answer
from services.edge.api.answers.shapes import ForeignApi
from services.edge.api.answers.whole_answer import WholeAnswers
from services.edge.api.asked import EventsAsked
from services.edge.api.asking import answer_whole, ends_with_connection, follow, names_stream, settings_of, streams_of
from services.edge.api.body import read_json
from services.edge.api.openai_chat.errors import openai_shape
from services.edge.api.openai_responses.answer import asked_response, echoed, queued_response, stored_response
from services.edge.api.openai_responses.input import referenced_streams
from services.edge.api.openai_responses.place import resumption
from services.edge.api.openai_responses.request import responses_request, wants
from services.edge.api.repeated import create_or_join
from services.edge.wires.openai_responses.items import Naming, items_of
from services.edge.wires.openai_responses.response import RESPONSE_PREFIX, response_id
from services.edge.wires.openai_responses.wire import RESPONSES
from shared.errors import InvalidRequest, StreamExpired, UnknownStream
from shared.store.calls import Interruption
from shared.store.message import Assembled

__all__ = ("OPENAI_RESPONSES",)

# Of earlier responses whose items one request names without their content.
_REFERENCED_MOST: Final = 64

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.post("/responses", response_model=dict[str, Any])
async def create_response(request: Request, caller: CallerOf) -> Response:
    """Ask a model, as OpenAI's SDKs do. `x-tailrace-stream` names the stream, which any edge has for any client."""
    body, raw = await read_json(request, max_bytes=settings_of(request).max_body_bytes)
    is_streaming, is_background = wants(body, "stream"), wants(body, "background")
    asked = responses_request(body, await _references(request, caller, body))
    # The frameworks on the SDKs keep what they were told, also of an item that was broken off.
    policy: Interruption | None = "continue_or_fail" if is_streaming and not is_background else None
    created = await create_or_join(request, caller, asked, raw, interruption=policy)
    headers = names_stream(created.id)
    ends = ends_with_connection(request) and not is_background
    if is_streaming:
        events = EventsAsked(None, RESPONSES, is_named=True)
        return await follow(request, caller, created.id, events, headers=headers, cancel_on_leave=ends)
    echo = echoed(body) | {"metadata": asked.metadata}
    if is_background:
        meta = await streams_of(request).state(caller, created.id)
        response = queued_response(created.id, meta.model, meta.created_ms, echo)
        response.headers.update(headers)
        return response
    return await answer_whole(request, caller, created.id, asked_response(echo), headers=headers, cancel_on_leave=ends)


@router.get("/responses/{id_of_response}", response_model=dict[str, Any])
async def get_response(request: Request, caller: CallerOf, id_of_response: str) -> Response:
    """The response at this moment; with `stream=true` its events, after `starting_after` if that is given."""
    stream_id = _stream_of(id_of_response)
    query = request.query_params
    if query.get("stream") not in {"true", "True", "1"}:
        if "starting_after" in query:
            raise InvalidRequest("starting_after: only with stream=true.", param="starting_after")
        return await _stored(request, caller, stream_id)
    meta = await streams_of(request).state(caller, stream_id)
    cursor, told = resumption(query.get("starting_after"), meta)
    events = EventsAsked(cursor, RESPONSES, is_named=True)
    return await follow(request, caller, stream_id, events, headers={"x-tailrace-stream": stream_id}, told=told)


@router.post("/responses/{id_of_response}/cancel", response_model=dict[str, Any])
async def cancel_response(request: Request, caller: CallerOf, id_of_response: str) -> Response:
    """Stop a response, in the background or not; one that is over is answered as it is."""
    stream_id = _stream_of(id_of_response)
    await streams_of(request).cancel(caller, stream_id, attempt=None)
    return await _stored(request, caller, stream_id)


@router.post("/responses/{absent}", include_in_schema=False)
async def absent_endpoint(absent: str) -> Response:
    """Say of the endpoints that are not here that they are not here: without this they would be a wrong method."""
    raise HTTPException(404)


@router.delete("/responses/{id_of_response}", response_model=dict[str, Any])
async def delete_response(request: Request, caller: CallerOf, id_of_response: str) -> Response:
    """Remove a response and its text now."""
    stream_id = _stream_of(id_of_response)
    await streams_of(request).delete(caller, stream_id)
    return json_answer({"id": response_id(stream_id), "object": "response.deleted", "deleted": True})


def _stream_of(id_of_response: str) -> str:
    if not id_of_response.startswith(RESPONSE_PREFIX):
        raise UnknownStream
    return id_of_response.removeprefix(RESPONSE_PREFIX)


async def _stored(request: Request, caller: Caller, stream_id: str) -> Response:
    await streams_of(request).state(caller, stream_id)
    answers: WholeAnswers = request.app.state.whole_answers
    return await answers.rendered(stream_id, stored_response)


async def _references(request: Request, caller: Caller, body: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The items that a request names without their content, of responses that are still here."""
    stream_ids = referenced_streams(body)
    if len(stream_ids) > _REFERENCED_MOST:
        raise InvalidRequest(f"input: names items of more than {_REFERENCED_MOST} responses.", param="input")
    items: dict[str, dict[str, Any]] = {}
    for stream_id in stream_ids:
        try:
            await streams_of(request).state(caller, stream_id)
        except (UnknownStream, StreamExpired):
            continue  # the item itself is refused by its name
        answers: WholeAnswers = request.app.state.whole_answers
        for item in await answers.made_of(stream_id, _items):
            items[item["id"]] = item
    return items


def _items(whole: Assembled) -> list[dict[str, Any]]:
    naming = Naming.along(whole.meta.id, whole.meta.lineage)
    return items_of(naming, whole.content.parts(), "completed")


OPENAI_RESPONSES: Final = ForeignApi(router, ("/v1/responses", "/v1/responses/"), openai_shape)
