"""Requests of OpenAI's chat completions API as requests of ours. They are nearly the same; here is what differs."""

from collections.abc import Mapping
from typing import Any, Final

from services.edge.api.asking import validated
from services.edge.api.schemas import CreateStream
from shared.errors import InvalidRequest

__all__ = ("chat_request", "wants_stream", "wants_usage")

# What no stream of ours can hold: the value that asks for nothing, and what to do instead.
_REFUSED: Final[Mapping[str, tuple[tuple[object, ...], str]]] = {
    "n": ((1,), "A stream holds one answer: ask n times."),
    "logprobs": ((False,), "Log probabilities are not kept: leave it out."),
    "top_logprobs": ((0,), "Log probabilities are not kept: leave it out."),
    "audio": ((), "Answers are text: leave it out."),
    "functions": (([],), "Use tools instead."),
    "function_call": (("none", "auto"), "Use tool_choice instead."),
}
_TEXT_ONLY: Final = ["text"]
# Theirs alone: nothing for us or the provider.
_IGNORED: Final = frozenset({"store", "moderation"})


def chat_request(body: Mapping[str, Any]) -> CreateStream:
    """Return the request as ours. Raises `InvalidRequest`, which names the field, if a stream could not hold it."""
    for name, (nothing, advice) in _REFUSED.items():
        value = body.get(name)
        if value is not None and value not in nothing:
            raise InvalidRequest(f"{name} is not supported here. {advice}", param=name)
    if body.get("modalities") not in (None, _TEXT_ONLY):
        raise InvalidRequest('modalities: answers are text; leave it out, or send ["text"].', param="modalities")
    _refuse_hosted_tools(body.get("tools"))
    asked: CreateStream = validated(CreateStream, {name: value for name, value in body.items() if _is_kept(name)})
    return asked


def wants_stream(body: Mapping[str, Any]) -> bool:
    """Return what the body says of it: every SDK accepts JSON, streaming or not."""
    return bool(body.get("stream"))


def wants_usage(body: Mapping[str, Any]) -> bool:
    options = body.get("stream_options")
    return isinstance(options, dict) and bool(options.get("include_usage"))


def _is_kept(name: str) -> bool:
    return name not in _IGNORED and name not in _REFUSED and name != "modalities"


def _refuse_hosted_tools(tools: object) -> None:
    for number, tool in enumerate(tools if isinstance(tools, list) else ()):
        kind = tool.get("type") if isinstance(tool, dict) else None
        if kind != "function":
            param = f"tools.{number}.type"
            message = "a tool that the provider would run itself is not supported here; describe it as a function."
            raise InvalidRequest(f"{param}: {message}", param=param)
