"""A whole answer in the shape of Anthropic's Messages API."""

from typing import Any

import orjson
from starlette.responses import Response

from services.edge.api.answers.json_answer import json_answer
from services.edge.api.anthropic.errors import anthropic_shape
from services.edge.api.ended import failure_of
from services.edge.wires.anthropic import message_id, stop_reason_of, usage_of
from shared.store.message import Assembled

__all__ = ("message_answer",)


def message_answer(whole: Assembled) -> Response:
    """Return the message, or the error that the stream ended with."""
    problem = failure_of(whole)
    if problem is not None:
        return anthropic_shape(problem)
    meta, parts = whole.meta, whole.content.parts()
    is_refused = any(part["type"] == "refusal" for part in parts)
    return json_answer(
        {
            "id": message_id(meta.id),
            "type": "message",
            "role": "assistant",
            "model": meta.model,
            "content": [block for block in map(_block, parts) if block is not None],
            "stop_reason": stop_reason_of(meta.finish_reason, is_refused=is_refused),
            "stop_sequence": None,
            "usage": usage_of(meta.usage),
        }
    )


def _block(part: dict[str, Any]) -> dict[str, Any] | None:
    match part["type"]:
        case "text" | "refusal":
            return {"type": "text", "text": part["text"]}
        case "reasoning":
            signature = part.get("provider_data", {}).get("signature", "")
            return {"type": "thinking", "thinking": part["text"], "signature": signature}
        case "tool_call":
            return {"type": "tool_use", "id": part["id"], "name": part["name"], "input": _input(part["arguments"])}
        case _:
            return None


def _input(arguments: str) -> Any:
    """Return the arguments as what they say; those of a call that was broken off as they are."""
    try:
        return orjson.loads(arguments or "{}")
    except orjson.JSONDecodeError:
        return {"unparsed_arguments": arguments}
