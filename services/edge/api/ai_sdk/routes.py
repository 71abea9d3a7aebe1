"""The AI SDK's chat API: `useChat` asks, resumes and stops here with the transports that it comes with.

A chat is at one stream at a time. A run, by which a `WorkflowChatTransport` asks again, is a stream.
"""

import time
from contextlib import suppress
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from services.edge.access.caller import Caller, CallerOf
from services.edge.api.ai_sdk.errors import ai_sdk_shape
from services.edge.api.ai_sdk.request import chat_id_of, chat_request, start_index_of
from services.edge.api.answers.json_answer import json_answer
from services.edge.api.answers.shapes import ForeignApi
from services.edge.api.asked import EventsAsked
from services.edge.api.asking import create_from, follow, settings_of, streams_of, threads_of
from services.edge.api.body import read_json
from services.edge.wires.ai_sdk.wire import AI_SDK, AI_SDK_6, AI_SDK_AGAIN, AI_SDK_ANEW
from services.edge.wires.wire import Wire
from shared.errors import InvalidRequest, StreamExpired, UnknownStream
from shared.log.keys import is_stream_id

__all__ = ("AI_SDK_API", "API_NAME")

API_NAME: Final = "ai-sdk"
# `start` and `start-step` come first; who has more than these has something to take back.
_OPENING_CHUNKS: Final = 2

router = APIRouter(tags=["AI SDK"])

Version = Annotated[Literal["6", "7"], Query(description="The major version of `ai` in the page.")]


@router.post("/api/chat", response_class=Response)
async def create_chat(request: Request, caller: CallerOf, ui: Version = "7") -> Response:
    """Ask a model, as `useChat` does. The answer goes on when the page leaves, and any edge has it."""
    return await _create(request, caller, _wire(ui))


@router.post("/api/v6/chat", response_class=Response)
async def create_chat_of_version_6(request: Request, caller: CallerOf) -> Response:
    """The same for `ai` 6, for transports that are configured with a path alone."""
    return await _create(request, caller, AI_SDK_6)


@router.get("/api/chat/{chat_id:path}/stream", response_class=Response)
async def resume_chat(request: Request, caller: CallerOf, chat_id: str, ui: Version = "7") -> Response:
    """The answer that a chat is at, from its beginning; 204 if there is none, or it has been over for a while."""
    return await _resume(request, caller, chat_id, _wire(ui))


@router.get("/api/v6/chat/{chat_id:path}/stream", response_class=Response)
async def resume_chat_of_version_6(request: Request, caller: CallerOf, chat_id: str) -> Response:
    return await _resume(request, caller, chat_id, AI_SDK_6)


@router.post("/api/chat/{chat_id:path}/stop", response_model=dict[str, Any])
async def stop_chat(request: Request, caller: CallerOf, chat_id: str) -> Response:
    """Stop the answer that a chat is at, for everybody; with `activeStreamId` that one only."""
    body, _ = await read_json(request, max_bytes=settings_of(request).max_body_bytes)
    await _stop(request, caller, chat_id, body.get("activeStreamId"))
    return json_answer({"success": True})


@router.post("/api/v6/chat/{chat_id:path}/stop", response_model=dict[str, Any])
async def stop_chat_of_version_6(request: Request, caller: CallerOf, chat_id: str) -> Response:
    return await stop_chat(request, caller, chat_id)


async def _create(request: Request, caller: Caller, wire: Wire) -> Response:
    settings = settings_of(request)
    body, raw = await read_json(request, max_bytes=settings.max_body_bytes)
    chat_id = chat_id_of(body)
    asked = chat_request(body, default_model=settings.default_model)
    created = await create_from(request, caller, asked, raw)
    if chat_id is not None:
        await threads_of(request).lead(caller, API_NAME, chat_id, created.id)
    return await _followed(request, caller, created.id, wire)


async def _resume(request: Request, caller: Caller, chat_id: str, wire: Wire) -> Response:
    index = start_index_of(request.query_params.get("startIndex"))
    current = await threads_of(request).current(caller, API_NAME, chat_id)
    if current is not None:
        return await _resumed(request, caller, current, wire, index)
    if is_stream_id(chat_id):  # a run: its transport knows it by nothing else
        return await _resumed(request, caller, chat_id, wire, index, is_run=True)
    return Response(status_code=204)


async def _resumed(
    request: Request, caller: Caller, stream_id: str, wire: Wire, index: int | None, *, is_run: bool = False
) -> Response:
    if index is None:
        return await _while_it_lasts(request, caller, stream_id, wire, is_run=is_run)
    headers = {}
    if index < 0:  # the last chunks are among all of them; the transport is told that the first one is number 0
        headers["x-workflow-stream-tail-index"] = str(-index - 1)
    return await _followed(request, caller, stream_id, _wire_from(wire, index), headers)


def _wire_from(wire: Wire, index: int) -> Wire:
    """The wire for who has so many chunks."""
    if wire is AI_SDK_6 and index >= _OPENING_CHUNKS:
        message = "startIndex: ai 6 cannot take back what it has; read the answer again from 0."
        raise InvalidRequest(message, param="startIndex")
    if wire is AI_SDK_6 or index == 1:
        return wire
    return AI_SDK_AGAIN if index > 1 else AI_SDK_ANEW


async def _while_it_lasts(request: Request, caller: Caller, stream_id: str, wire: Wire, *, is_run: bool) -> Response:
    try:
        meta = await streams_of(request).state(caller, stream_id)
    except (UnknownStream, StreamExpired):
        if is_run:
            raise
        return Response(status_code=204)
    if meta.is_over and time.time() * 1000 - meta.finished_ms > settings_of(request).chat_replay_s * 1000:
        return Response(status_code=204)
    return await _followed(request, caller, stream_id, wire)


async def _followed(
    request: Request, caller: Caller, stream_id: str, wire: Wire, more: dict[str, str] | None = None
) -> Response:
    headers = {
        "x-tailrace-stream": stream_id,
        "x-workflow-run-id": stream_id,
        "location": f"/v1/streams/{stream_id}",
        **(more or {}),
    }
    return await follow(request, caller, stream_id, EventsAsked(None, wire, is_named=True), headers=headers)


async def _stop(request: Request, caller: Caller, chat_id: str, only: object) -> None:
    current = await threads_of(request).current(caller, API_NAME, chat_id)
    stream_id = current if current is not None else chat_id
    if not is_stream_id(stream_id) or (only is not None and only != stream_id):
        return
    with suppress(UnknownStream, StreamExpired):
        await streams_of(request).cancel(caller, stream_id, attempt=None)


def _wire(version: str) -> Wire:
    return AI_SDK_6 if version == "6" else AI_SDK


AI_SDK_API: Final = ForeignApi(router, ("/api/chat", "/api/chat/", "/api/v6/chat", "/api/v6/chat/"), ai_sdk_shape)
