"""The body of a request to an OpenAI-style provider. Pure."""

from typing import Any, Final

import orjson

from services.worker.providers.provider import CompletionRequest

__all__ = ("OPTIONS", "request_body")

# What a caller may set. Everything else stays here: `n` would multiply the answer, `stream` is ours.
OPTIONS: Final = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "max_completion_tokens",
        "max_tokens",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        "verbosity",
    }
)


def request_body(request: CompletionRequest, *, include_usage: bool) -> bytes:
    """The JSON to send: the caller's known options, and what makes it a stream."""
    fields: dict[str, Any] = {name: value for name, value in request.options.items() if name in OPTIONS}
    fields |= {"model": request.model, "messages": request.messages, "stream": True}
    if include_usage:
        fields["stream_options"] = {"include_usage": True}
    return orjson.dumps(fields)
