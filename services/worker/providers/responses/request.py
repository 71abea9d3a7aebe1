"""The body of a request to OpenAI's Responses API. Pure."""

from typing import Any, Final

import orjson

from services.worker.providers.conversation.options import Options, Tool, tools_of, with_extras
from services.worker.providers.conversation.turns import turns_of
from services.worker.providers.provider import CompletionRequest
from services.worker.providers.responses.input import items_of
from shared.errors import ProviderUnsupported
from shared.settings.providers import ProviderSettings

__all__ = ("OPTIONS", "request_body")

OPTIONS: Final = frozenset(
    {
        "max_completion_tokens",
        "max_tokens",
        "parallel_tool_calls",
        "prompt_cache_key",
        "prompt_cache_retention",
        "reasoning_effort",
        "response_format",
        "safety_identifier",
        "service_tier",
        "temperature",
        "tool_choice",
        "tools",
        "top_p",
        "user",
        "verbosity",
        "web_search_options",
    }
)
_SAME: Final = (
    "temperature",
    "top_p",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "user",
)


def request_body(request: CompletionRequest, settings: ProviderSettings) -> bytes:
    """The JSON to send. Raises a `ProviderError` for what cannot be said in this API."""
    options = Options(request.options, settings)
    turns = turns_of(request.messages, settings)
    # Not kept there, so what it thought has to come along, encrypted.
    body: dict[str, Any] = {"model": request.model, "input": items_of(turns), "stream": True}
    body |= {"store": bool(options.take("store")), "include": ["reasoning.encrypted_content"]}
    body |= {"stream_options": {"include_obfuscation": False}} | options.renamed(**{name: name for name in _SAME})
    limit = options.take("max_completion_tokens", "max_tokens")
    if limit is not None:
        body["max_output_tokens"] = limit
    body |= _tools(options) | _thinking(options.take("reasoning_effort")) | _text(options)
    return orjson.dumps(with_extras(body | options.rest(), settings.extra_body))


def _tools(options: Options) -> dict[str, Any]:
    tools = [_tool(each) for each in tools_of(options.take("tools"))]
    if options.take("web_search_options") is not None:
        tools.append({"type": "web_search"})
    choice = options.take("tool_choice")
    if not tools:
        return {}
    return {"tools": tools, **({"tool_choice": _choice(choice)} if choice is not None else {})}


def _tool(tool: Tool) -> dict[str, Any]:
    name, description, schema, strict = tool
    about = {"description": description} if description else {}
    # The default here is strict, in the chat form it is not.
    return {"type": "function", "name": name, **about, "parameters": schema, "strict": bool(strict)}


def _choice(choice: object) -> Any:
    if choice in ("auto", "required", "none"):
        return choice
    function = choice.get("function") if isinstance(choice, dict) else None
    if isinstance(function, dict) and isinstance(function.get("name"), str):
        return {"type": "function", "name": function["name"]}
    raise ProviderUnsupported("tool_choice: this model provider has no such choice.")


def _thinking(effort: object) -> dict[str, Any]:
    if not isinstance(effort, str):
        return {}
    return {"reasoning": {"effort": effort, **({} if effort == "none" else {"summary": "auto"})}}


def _text(options: Options) -> dict[str, Any]:
    fields = options.renamed(verbosity="verbosity")
    match options.take("response_format"):
        case None | {"type": "text"}:
            pass
        case {"type": "json_object"}:
            fields["format"] = {"type": "json_object"}
        case {"type": "json_schema", "json_schema": dict(form)}:
            fields["format"] = {"type": "json_schema", **form}
        case _:
            raise ProviderUnsupported("response_format: this model provider takes text, json_object or json_schema.")
    return {"text": fields} if fields else {}
