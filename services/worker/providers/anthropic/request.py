"""The body of a request to Anthropic's Messages API. Pure."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from services.worker.providers.anthropic.blocks import messages_of, system_of
from services.worker.providers.conversation.options import Options, tools_of, with_extras
from services.worker.providers.conversation.turns import turns_of
from services.worker.providers.provider import CompletionRequest
from shared.errors import ProviderUnsupported
from shared.settings.providers import ProviderSettings

__all__ = ("OPTIONS", "request_body")

OPTIONS: Final = frozenset(
    {
        "max_completion_tokens",
        "max_tokens",
        "parallel_tool_calls",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "service_tier",
        "stop",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        "user",
        "web_search_options",
    }
)
# The API demands a limit; every model that is served takes this one.
_MOST_TOKENS: Final = 8192
_CHOICES: Final = {"auto": "auto", "required": "any", "none": "none"}
_TIERS: Final = {"auto": "auto", "default": "standard_only"}
_WEB_SEARCH: Final = {"type": "web_search_20250305", "name": "web_search"}


def request_body(request: CompletionRequest, settings: ProviderSettings) -> bytes:
    """The JSON to send. Raises a `ProviderError` for what cannot be said in this API."""
    options = Options(request.options, settings)
    turns = turns_of(request.messages, settings)
    body: dict[str, Any] = {"model": request.model, "max_tokens": _limit(options), "stream": True}
    if system := system_of(turns):
        body["system"] = system
    body["messages"] = messages_of(turns)
    body |= options.renamed(temperature="temperature", top_p="top_p", top_k="top_k")
    if stops := options.stops():
        body["stop_sequences"] = stops
    body |= _tools(options) | _output(options) | _about(options)
    return orjson.dumps(with_extras(body | options.rest(), settings.extra_body))


def _limit(options: Options) -> int:
    return options.take("max_completion_tokens", "max_tokens") or _MOST_TOKENS


def _tools(options: Options) -> dict[str, Any]:
    tools = [_tool(*each) for each in tools_of(options.take("tools"))]
    choice, is_parallel = options.take("tool_choice"), options.take("parallel_tool_calls")
    if options.take("web_search_options") is not None:
        tools.append(_WEB_SEARCH)
    if not tools:
        return {}
    chosen = _choice(choice)
    if is_parallel is False and chosen.get("type", "auto") != "none":
        chosen = {"type": "auto", **chosen, "disable_parallel_tool_use": True}
    return {"tools": tools, **({"tool_choice": chosen} if chosen else {})}


def _tool(name: str, description: str, schema: Mapping[str, Any], strict: bool | None) -> dict[str, Any]:
    about = {"description": description} if description else {}
    return {"name": name, **about, "input_schema": schema, **({"strict": True} if strict else {})}


def _choice(choice: object) -> dict[str, Any]:
    if choice is None:
        return {}
    if isinstance(choice, str) and choice in _CHOICES:
        return {"type": _CHOICES[choice]}
    function = choice.get("function") if isinstance(choice, dict) else None
    if isinstance(function, dict) and isinstance(function.get("name"), str):
        return {"type": "tool", "name": function["name"]}
    raise ProviderUnsupported("tool_choice: this model provider has no such choice.")


def _output(options: Options) -> dict[str, Any]:
    """Return how much to think, and the form of the answer."""
    fields: dict[str, Any] = {}
    output: dict[str, Any] = {}
    effort = options.take("reasoning_effort")
    if effort == "none":
        fields["thinking"] = {"type": "disabled"}
    elif effort is not None:
        fields["thinking"] = {"type": "adaptive", "display": "summarized"}
        output["effort"] = "low" if effort == "minimal" else effort
    if form := _form(options.take("response_format")):
        output["format"] = form
    return {**fields, **({"output_config": output} if output else {})}


def _form(form: object) -> dict[str, Any] | None:
    match form:
        case None | {"type": "text"}:
            return None
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return {"type": "json_schema", "schema": schema}
    raise ProviderUnsupported("response_format: this model provider takes text or json_schema with a schema.")


def _about(options: Options) -> dict[str, Any]:
    user, tier = options.take("safety_identifier", "user"), options.take("service_tier")
    fields: dict[str, Any] = {"metadata": {"user_id": user}} if isinstance(user, str) and user else {}
    if isinstance(tier, str) and tier in _TIERS:
        fields["service_tier"] = _TIERS[tier]
    return fields
