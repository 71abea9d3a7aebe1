"""OpenAI's chat completions API: any client of it reads our streams, and its answer outlives its connection."""

from typing import Any, Final

from fastapi import APIRouter, Request
from starlette.responses import Response

from services.edge.access.caller import CallerOf
from services.edge.api.answers.json_answer import json_answer
from services.edge.api.answers.shapes import ForeignApi
from services.edge.api.asked import EventsAsked
from services.edge.api.asking import answer_whole, ends_with_connection, follow, names_stream, settings_of
from services.edge.api.body import read_json
from services.edge.api.openai_chat.answer import chat_completion
from services.edge.api.openai_chat.errors import openai_shape
from services.edge.api.openai_chat.request import chat_request, wants_stream, wants_usage
from services.edge.api.repeated import create_or_join
from services.edge.wires.openai_chat import OPENAI, OPENAI_WITH_USAGE
from shared.errors import UnknownModel
from shared.store.calls import Interruption

__all__ = ("OPENAI_CHAT",)

# Models have no birthday here; clients want a number.
_CREATED_S: Final = 0
_CREATED_AT: Final = "1970-01-01T00:00:00Z"
_PATTERN_CHARS: Final = "*?["

router = APIRouter(prefix="/v1", tags=["OpenAI"])


@router.post("/chat/completions", response_model=dict[str, Any])
async def create_chat_completion(request: Request, caller: CallerOf) -> Response:
    """Ask a model, as OpenAI's SDKs do. `x-tailrace-stream` names the stream, which any edge has for any client."""
    body, raw = await read_json(request, max_bytes=settings_of(request).max_body_bytes)
    asked = chat_request(body)
    # Who is told an answer word by word here cannot be told that it begins anew.
    policy: Interruption | None = "continue_or_fail" if wants_stream(body) else None
    created = await create_or_join(request, caller, asked, raw, interruption=policy)
    headers = names_stream(created.id)
    ends = ends_with_connection(request)
    if not wants_stream(body):
        return await answer_whole(request, caller, created.id, chat_completion, headers=headers, cancel_on_leave=ends)
    events = EventsAsked(None, OPENAI_WITH_USAGE if wants_usage(body) else OPENAI, is_named=True)
    return await follow(request, caller, created.id, events, headers=headers, cancel_on_leave=ends)


@router.get("/models", response_model=dict[str, Any])
async def list_models(request: Request, caller: CallerOf) -> Response:
    """The models that are configured by name; a pattern such as `gpt-*` cannot be listed."""
    names = _models(request)
    if "anthropic-version" in request.headers:
        return json_answer(_anthropic_list(list(names)))
    return json_answer({"object": "list", "data": [_model(name, owner) for name, owner in names.items()]})


@router.get("/models/{model:path}", response_model=dict[str, Any])
async def get_model(request: Request, caller: CallerOf, model: str) -> Response:
    """One model, also of those that only a pattern names."""
    found = settings_of(request).providers_of(model)
    if not found:
        raise UnknownModel
    return json_answer(_model(model, found[0].name))


def _models(request: Request) -> dict[str, str]:
    names: dict[str, str] = {}
    for provider in settings_of(request).providers:
        for name in provider.models:
            if not any(char in _PATTERN_CHARS for char in name):
                names.setdefault(name, provider.name)
    return names


def _model(name: str, owner: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": _CREATED_S, "owned_by": owner}


def _anthropic_list(names: list[str]) -> dict[str, Any]:
    """The same for clients of Anthropic's API, which has it at this path, too."""
    data = [{"type": "model", "id": name, "display_name": name, "created_at": _CREATED_AT} for name in names]
    ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
    return {"data": data, "has_more": False, **ends}


OPENAI_CHAT: Final = ForeignApi(
    router,
    (
        "/v1/chat/",
        "/v1/models",
        "/v1/models/",
        # Not here, and asked for by clients that are configured otherwise.
        "/v1/completions",
        "/v1/embeddings",
        "/v1/moderations",
        "/v1/audio/",
        "/v1/images/",
    ),
    openai_shape,
)
