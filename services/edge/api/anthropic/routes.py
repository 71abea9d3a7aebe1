"""Anthropic's Messages API: tools that take an `ANTHROPIC_BASE_URL` work with any provider."""

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.edge.access.caller import CallerOf
from services.edge.api.answers.json_answer import json_answer
from services.edge.api.answers.shapes import ForeignApi
from services.edge.api.anthropic.answer import message_answer
from services.edge.api.anthropic.errors import anthropic_shape
from services.edge.api.anthropic.estimate import estimated_tokens
from services.edge.api.anthropic.request import message_request
from services.edge.api.asked import EventsAsked
from services.edge.api.asking import answer_whole, ends_with_connection, follow, names_stream, settings_of
from services.edge.api.body import read_json
from services.edge.api.repeated import create_or_join
from services.edge.wires.anthropic import ANTHROPIC
from shared.store.calls import Interruption

__all__ = ("ANTHROPIC_MESSAGES",)

router = APIRouter(prefix="/v1", tags=["Anthropic"])


@router.post("/messages", response_model=dict[str, Any])
async def create_message(request: Request, caller: CallerOf) -> Response:
    """Ask a model, as Anthropic's SDKs do. `x-tailrace-stream` names the stream."""
    body, raw = await read_json(request, max_bytes=settings_of(request).max_body_bytes)
    asked = message_request(body)
    is_streaming = bool(body.get("stream"))
    policy: Interruption | None = "continue_or_fail" if is_streaming else None
    created = await create_or_join(request, caller, asked, raw, interruption=policy)
    headers = names_stream(created.id)
    ends = ends_with_connection(request)
    if not is_streaming:
        return await answer_whole(request, caller, created.id, message_answer, headers=headers, cancel_on_leave=ends)
    events = EventsAsked(None, ANTHROPIC, is_named=True)
    return await follow(request, caller, created.id, events, headers=headers, cancel_on_leave=ends)


@router.post("/messages/count_tokens", response_model=dict[str, Any])
async def count_tokens(request: Request, caller: CallerOf) -> Response:
    """Estimate the tokens of a request; `x-tailrace-estimate` says that it is one."""
    body, _ = await read_json(request, max_bytes=settings_of(request).max_body_bytes)
    asked = message_request({"max_tokens": 1} | body)
    messages = [message.model_dump(exclude_unset=True) for message in asked.messages]
    tokens = estimated_tokens(messages, asked.tools)
    return json_answer({"input_tokens": tokens}, headers={"x-tailrace-estimate": "1"})


ANTHROPIC_MESSAGES: Final = ForeignApi(router, ("/v1/messages", "/v1/messages/"), anthropic_shape)
