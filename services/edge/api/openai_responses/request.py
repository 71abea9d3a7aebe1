"""Requests of OpenAI's Responses API as requests of ours, which are those of its chat completions API."""

from collections.abc import Mapping
from typing import Any, Final

from services.edge.api.asking import validated
from services.edge.api.openai_responses.input import References, messages_of
from services.edge.api.schemas import CreateStream
from shared.errors import InvalidBody, InvalidRequest

__all__ = ("responses_request", "wants")

_NO_HISTORY: Final = "No history is kept: send the items of the conversation in input."
# What no stream of ours can do: the values that ask for nothing, and what to do instead.
_REFUSED: Final[Mapping[str, tuple[tuple[object, ...], str]]] = {
    "previous_response_id": ((), _NO_HISTORY),
    "conversation": ((), _NO_HISTORY),
    "prompt": ((), "Templates are not kept: send instructions and input."),
    "context_management": (([],), "Nothing is left out of a conversation: send what the model is to see."),
    "truncation": (("disabled",), "Nothing is left out of a conversation: leave it out, or send disabled."),
    "top_logprobs": ((0,), "Log probabilities are not kept: leave it out."),
    "image": ((), "Describe the tool that makes images as a function."),
}
_THEIR_NAMES: Final = {
    "max_completion_tokens": "max_output_tokens",
    "messages": "input",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
    "response_format": "text.format",
}
_LOGPROBS: Final = "message.output_text.logprobs"
# Theirs alone, or translated below: not passed on under their own names.
_OWN: Final = frozenset(
    {
        *("input", "instructions", "max_output_tokens", "text", "reasoning", "tools", "tool_choice"),
        *("background", "background_options", "include", "stream", "stream_options", "store", "max_tool_calls"),
        *("moderation", "access_programs"),
        *_REFUSED,
    }
)


def responses_request(body: Mapping[str, Any], references: References) -> CreateStream:
    """Return the request as ours. Raises `InvalidRequest`, which names the field, if a stream could not hold it.

    `references` are the items of earlier responses that the input may name.
    """
    _refuse(body)
    fields: dict[str, Any] = {name: value for name, value in body.items() if name not in _OWN}
    fields["messages"] = messages_of(body, references)
    translated: dict[str, Any] = {
        "max_completion_tokens": body.get("max_output_tokens"),
        "reasoning_effort": _member(body, "reasoning").get("effort"),
        "verbosity": _member(body, "text").get("verbosity"),
        "response_format": _format(_member(body, "text").get("format")),
        "tools": _tools(body.get("tools")),
        "tool_choice": _tool_choice(body.get("tool_choice")),
    }
    if translated["tools"] is None and translated["tool_choice"] in ("auto", "none"):
        translated["tool_choice"] = None  # some providers refuse a choice among nothing
    given = {name: value for name, value in translated.items() if value is not None}
    try:
        asked: CreateStream = validated(CreateStream, fields | given)
    except InvalidBody as error:
        raise _in_their_words(error) from error
    return asked


def _in_their_words(error: InvalidBody) -> InvalidBody:
    """The same error, if it is about a field that they call otherwise, with their name for it."""
    theirs = _THEIR_NAMES.get((error.param or "").partition(".")[0])
    if theirs is None:
        return error
    return InvalidBody(f"{theirs}: {error.message.partition(': ')[2]}", param=theirs)


def wants(body: Mapping[str, Any], name: str) -> bool:
    """Return whether a switch is on: `stream`, `background` or `store`."""
    value = body.get(name)
    if value is not None and not isinstance(value, bool):
        raise InvalidRequest(f"{name}: true or false is expected.", param=name)
    return bool(value)


def _refuse(body: Mapping[str, Any]) -> None:
    for name, (nothing, advice) in _REFUSED.items():
        value = body.get(name)
        if value is not None and value not in nothing:
            raise InvalidRequest(f"{name} is not supported here. {advice}", param=name)
    include = body.get("include")
    if isinstance(include, list) and _LOGPROBS in include:
        raise InvalidRequest(f"include: log probabilities are not kept; leave {_LOGPROBS} out.", param="include")
    if _member(body, "background_options").get("completion_window") not in (None, "soonest"):
        param = "background_options.completion_window"
        raise InvalidRequest(f"{param}: every answer is begun at once; leave it out.", param=param)


def _member(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = body.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InvalidRequest(f"{name}: an object is expected.", param=name)
    return value


def _format(wanted: object) -> dict[str, Any] | None:
    """The format of the text in the words of the chat API, which puts a schema one level further in."""
    if wanted is None:
        return None
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": kind}
    if kind == "json_schema" and isinstance(wanted, dict):
        return {"type": kind, "json_schema": {name: value for name, value in wanted.items() if name != "type"}}
    raise InvalidRequest("text.format.type: text, json_object or json_schema is expected.", param="text.format.type")


def _tools(wanted: object) -> list[dict[str, Any]] | None:
    if wanted is None or wanted == []:
        return None
    if not isinstance(wanted, list):
        raise InvalidRequest("tools: a list is expected.", param="tools")
    return [_tool(number, tool) for number, tool in enumerate(wanted)]


def _tool(number: int, tool: object) -> dict[str, Any]:
    if not isinstance(tool, dict) or tool.get("type") != "function":
        param = f"tools.{number}.type"
        message = "a tool that the provider would run itself is not supported here; describe it as a function."
        raise InvalidRequest(f"{param}: {message}", param=param)
    known = {name: tool[name] for name in ("name", "description", "parameters", "strict") if tool.get(name) is not None}
    return {"type": "function", "function": known}


def _tool_choice(wanted: object) -> str | dict[str, Any] | None:
    if wanted is None or isinstance(wanted, str):
        return wanted
    if isinstance(wanted, dict) and wanted.get("type") == "function":
        return {"type": "function", "function": {"name": wanted.get("name")}}
    message = "tool_choice: auto, none, required or a function is expected."
    raise InvalidRequest(message, param="tool_choice")
