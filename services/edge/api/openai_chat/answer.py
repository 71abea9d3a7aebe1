"""A whole answer in the shape of OpenAI's chat completions API."""

from collections.abc import Sequence
from typing import Any, Final

from starlette.responses import Response

from services.edge.api.answers.json_answer import json_answer
from services.edge.api.ended import failure_of
from services.edge.api.openai_chat.errors import openai_shape
from services.edge.wires.openai_chat import completion_id, finish_reason_of, usage_of
from shared.store.message import Assembled

__all__ = ("chat_completion",)

_TEXTS: Final = {"text": "content", "reasoning": "reasoning_content", "refusal": "refusal"}


def chat_completion(whole: Assembled) -> Response:
    """Return the completion, or the error that the stream ended with."""
    problem = failure_of(whole)
    if problem is not None:
        return openai_shape(problem)
    meta = whole.meta
    choice = {
        "index": 0,
        "message": _message(whole.content.parts()),
        "logprobs": None,
        "finish_reason": finish_reason_of(meta.finish_reason),
    }
    return json_answer(
        {
            "id": completion_id(meta.id),
            "object": "chat.completion",
            "created": meta.created_ms // 1000,
            "model": meta.model,
            "choices": [choice],
            "usage": usage_of(meta.usage),
        }
    )


def _message(parts: Sequence[dict[str, Any]]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    for part in parts:
        kind = part["type"]
        if kind in _TEXTS:
            name = _TEXTS[kind]
            message[name] = (message.get(name) or "") + part["text"]
            if "annotations" in part:
                message.setdefault("annotations", []).extend(part["annotations"])
        elif kind == "tool_call":
            function = {"name": part["name"], "arguments": part["arguments"]}
            call = {"id": part["id"], "type": "function", "function": function}
            message.setdefault("tool_calls", []).append(call)
        elif kind == "file":
            message.setdefault("images", []).append({"type": "image_url", "image_url": {"url": part["url"]}})
    return message
