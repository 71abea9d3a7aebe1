"""The body of a request to an OpenAI-style provider. Pure."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from services.worker.providers.provider import CompletionRequest
from shared.errors import ProviderUnsupported
from shared.settings.providers import RESERVED_MEMBERS, ProviderSettings

__all__ = ("OPTIONS", "check_options", "request_body")

# What a caller may set anywhere. Of the rest, a provider's entry says what is passed on.
OPTIONS: Final = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "max_completion_tokens",
        "max_tokens",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "seed",
        "service_tier",
        "stop",
        "store",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    }
)
# `n` would multiply the answer, `stream` is ours, metadata never leaves the edge.
_OURS: Final = RESERVED_MEMBERS | {"metadata", "on_interruption", "stream_options"}


def check_options(request: CompletionRequest, settings: ProviderSettings) -> None:
    """Raise `ProviderUnsupported` if this provider would be kept from seeing an option of the request."""
    for name in request.options.keys() - OPTIONS - _OURS:
        if not settings.allows(name):
            raise ProviderUnsupported


def request_body(request: CompletionRequest, *, include_usage: bool, settings: ProviderSettings | None = None) -> bytes:
    """The JSON to send: the caller's options, the operator's, and what makes it a stream."""
    fields = {name: value for name, value in request.options.items() if _is_passed_on(name, settings)}
    if settings is not None:
        fields |= settings.extra_body
    fields |= {**request.extra, "model": request.model, "messages": request.messages, "stream": True}
    if include_usage:
        fields["stream_options"] = _merged(fields.get("stream_options"), {"include_usage": True})
    return orjson.dumps(fields)


def _is_passed_on(name: str, settings: ProviderSettings | None) -> bool:
    return name in OPTIONS or (name not in _OURS and settings is not None and settings.allows(name))


def _merged(given: object, ours: Mapping[str, Any]) -> dict[str, Any]:
    return {**(given if isinstance(given, dict) else {}), **ours}
