"""The body of a request to Ollama's own API. Pure."""

from collections.abc import Sequence
from typing import Any, Final

import orjson

from services.worker.providers.conversation.options import Options, tools_of, with_extras
from services.worker.providers.conversation.turns import Call, Media, Result, Thought, Turn, turns_of
from services.worker.providers.provider import CompletionRequest
from shared.errors import ProviderUnsupported
from shared.settings.providers import ProviderSettings

__all__ = ("OPTIONS", "request_body")

OPTIONS: Final = frozenset(
    {
        "frequency_penalty",
        "max_completion_tokens",
        "max_tokens",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "temperature",
        "tools",
        "top_k",
        "top_p",
    }
)
_EFFORTS: Final = {"minimal": "low", "xhigh": "high", "max": "high"}


def request_body(request: CompletionRequest, settings: ProviderSettings) -> bytes:
    """The JSON to send. Raises a `ProviderError` for what cannot be said in this API."""
    options = Options(request.options, settings)
    turns = turns_of(request.messages, settings)
    messages = [message for turn in turns for message in _messages(turn)]
    body: dict[str, Any] = {"model": request.model, "messages": messages, "stream": True}
    body |= _tools(options) | _form(options.take("response_format")) | _thinking(options.take("reasoning_effort"))
    if sampling := _sampling(options):
        body["options"] = sampling
    return orjson.dumps(with_extras(body | options.rest(), settings.extra_body))


def _messages(turn: Turn) -> Sequence[dict[str, Any]]:
    if turn.role == "tool":
        (result,) = (part for part in turn.parts if isinstance(part, Result))
        named = {"tool_name": result.name} if result.name else {}
        # The id is of no use to a template, but to the cloud's models.
        return [{"role": "tool", "content": result.text, **named, "tool_call_id": result.id}]
    message: dict[str, Any] = {"role": turn.role, "content": turn.text}
    thoughts = "".join(part.text for part in turn.parts if isinstance(part, Thought))
    if thoughts and turn.role == "assistant":
        message["thinking"] = thoughts
    if images := [_image(part) for part in turn.parts if isinstance(part, Media)]:
        message["images"] = images
    if calls := [_call(part) for part in turn.parts if isinstance(part, Call)]:
        message["tool_calls"] = calls
    return [message]


def _image(part: Media) -> str:
    if not part.media_type.startswith("image/") or not part.data:
        raise ProviderUnsupported("messages: this model provider takes images only, and only as data.")
    return part.data


def _call(call: Call) -> dict[str, Any]:
    return {"id": call.id, "function": {"name": call.name, "arguments": call.arguments}}


def _tools(options: Options) -> dict[str, Any]:
    tools, choice = tools_of(options.take("tools")), options.take("tool_choice")
    options.take("parallel_tool_calls")
    if choice == "none":
        return {}
    if choice not in (None, "auto"):
        raise ProviderUnsupported("tool_choice: this model provider cannot be made to call a tool.")
    if not tools:
        return {}
    functions = [{"name": name, "description": about, "parameters": schema} for name, about, schema, _ in tools]
    return {"tools": [{"type": "function", "function": function} for function in functions]}


def _form(form: object) -> dict[str, Any]:
    match form:
        case None | {"type": "text"}:
            return {}
        case {"type": "json_object"}:
            return {"format": "json"}
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return {"format": schema}
    raise ProviderUnsupported("response_format: this model provider takes text, json_object or json_schema.")


def _thinking(effort: object) -> dict[str, Any]:
    if not isinstance(effort, str):
        return {}
    return {"think": False if effort == "none" else _EFFORTS.get(effort, effort)}


def _sampling(options: Options) -> dict[str, Any]:
    names = ("temperature", "top_p", "top_k", "seed", "frequency_penalty", "presence_penalty")
    fields = options.renamed(**{name: name for name in names})
    limit = options.take("max_completion_tokens", "max_tokens")
    if limit is not None:
        fields["num_predict"] = limit
    if stops := options.stops():
        fields["stop"] = stops
    return fields
