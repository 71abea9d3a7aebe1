"""Whole responses: of a request that does not stream, and of whoever asks for one later."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from starlette.responses import Response

from services.edge.api.answers.json_answer import json_answer
from services.edge.api.answers.shapes import Problem
from services.edge.api.ended import failure_of
from services.edge.api.openai_chat.errors import openai_shape
from services.edge.wires.openai_responses.response import begun_response, response_of
from shared.store.message import Assembled

__all__ = ("asked_response", "echoed", "queued_response", "stored_response")

_ECHOED: Final = (
    *("background", "instructions", "max_output_tokens", "max_tool_calls", "parallel_tool_calls", "prompt_cache_key"),
    *("reasoning", "safety_identifier", "service_tier", "store", "temperature", "text", "tool_choice", "tools"),
    *("top_p", "truncation", "user"),
)
# What an echo has at least, as strict clients want it.
_WHOLE: Final[Mapping[str, dict[str, Any]]] = {
    "reasoning": {"effort": None, "summary": None},
    "text": {"format": {"type": "text"}},
}
_WHOLE_TOOL: Final[dict[str, Any]] = {"description": None, "parameters": None, "strict": None}
# A failure of these kinds is told with a status, so that an SDK repeats what may be repeated.
_ENDED_WITHOUT_ANSWER: Final = "error"


def echoed(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request that its response repeats."""
    echo = {name: body[name] for name in _ECHOED if body.get(name) is not None}
    for name, whole in _WHOLE.items():
        if name in echo:
            echo[name] = whole | echo[name]
    if "tools" in echo:
        echo["tools"] = [_WHOLE_TOOL | tool for tool in echo["tools"]]
    return echo


def queued_response(stream_id: str, model: str, created_ms: int, echo: Mapping[str, Any]) -> Response:
    """Return the response that goes on in the background."""
    return json_answer({**begun_response(stream_id, model, created_ms), "status": "queued", **echo})


def asked_response(echo: Mapping[str, Any]) -> Callable[[Assembled], Response]:
    """Return what makes the answer for a client that has waited for it."""

    def render(whole: Assembled) -> Response:
        failure = failure_of(whole)
        if failure is not None and whole.meta.status == _ENDED_WITHOUT_ANSWER:
            return openai_shape(failure)
        return stored_response(whole, echo)

    return render


def stored_response(whole: Assembled, echo: Mapping[str, Any] | None = None) -> Response:
    """Return the response as it is now."""
    if whole.meta.trimmed:
        return openai_shape(Problem(410, "log_trimmed", "The beginning of the answer was trimmed from the log."))
    return json_answer({**response_of(whole), **(echo or {})})
