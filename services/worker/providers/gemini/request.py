"""The body of a request to Gemini. Pure."""

from typing import Any, Final

import orjson

from services.worker.providers.conversation.options import Options, Tool, tools_of, with_extras
from services.worker.providers.conversation.turns import turns_of
from services.worker.providers.gemini.contents import contents_of
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
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        "web_search_options",
    }
)
_MODES: Final = {"auto": "AUTO", "required": "ANY", "none": "NONE"}
# In tokens, for models that know no levels.
_BUDGETS: Final = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 32768, "max": 32768}


def request_body(request: CompletionRequest, settings: ProviderSettings) -> bytes:
    """The JSON to send. Raises a `ProviderError` for what cannot be said in this API."""
    options = Options(request.options, settings)
    turns = turns_of(request.messages, settings)
    body: dict[str, Any] = {"contents": contents_of(turns)}
    if system := "\n\n".join(turn.text for turn in turns if turn.role == "system"):
        body["systemInstruction"] = {"parts": [{"text": system}]}
    body |= _tools(options)
    if generation := _generation(request.model, options):
        body["generationConfig"] = generation
    return orjson.dumps(with_extras(body | options.rest(), settings.extra_body))


def _tools(options: Options) -> dict[str, Any]:
    functions = [_declared(each) for each in tools_of(options.take("tools"))]
    tools: list[dict[str, Any]] = [{"functionDeclarations": functions}] if functions else []
    if options.take("web_search_options") is not None:
        tools.append({"googleSearch": {}})
    choice = options.take("tool_choice")
    if not tools:
        return {}
    return {"tools": tools, **(_choice(choice) if choice is not None and functions else {})}


def _declared(tool: Tool) -> dict[str, Any]:
    name, description, schema, _ = tool
    about = {"description": description} if description else {}
    # An object without members is none to Gemini.
    takes = {"parametersJsonSchema": schema} if schema.get("properties") or schema.get("$ref") else {}
    return {"name": name, **about, **takes}


def _choice(choice: object) -> dict[str, Any]:
    if isinstance(choice, str) and choice in _MODES:
        return {"toolConfig": {"functionCallingConfig": {"mode": _MODES[choice]}}}
    function = choice.get("function") if isinstance(choice, dict) else None
    if isinstance(function, dict) and isinstance(function.get("name"), str):
        only = {"mode": "ANY", "allowedFunctionNames": [function["name"]]}
        return {"toolConfig": {"functionCallingConfig": only}}
    raise ProviderUnsupported("tool_choice: this model provider has no such choice.")


def _generation(model: str, options: Options) -> dict[str, Any]:
    fields = options.renamed(
        temperature="temperature",
        top_p="topP",
        top_k="topK",
        seed="seed",
        frequency_penalty="frequencyPenalty",
        presence_penalty="presencePenalty",
    )
    limit = options.take("max_completion_tokens", "max_tokens")
    if limit is not None:
        fields["maxOutputTokens"] = limit
    if stops := options.stops():
        fields["stopSequences"] = stops
    return fields | _thinking(model, options.take("reasoning_effort")) | _form(options.take("response_format"))


def _thinking(model: str, effort: object) -> dict[str, Any]:
    """Return how much to think: in levels since Gemini 3, in tokens before."""
    if not isinstance(effort, str):
        return {}
    if effort not in _BUDGETS:
        raise ProviderUnsupported("reasoning_effort: this model provider has no such effort.")
    if "gemini-2" in model:
        return {"thinkingConfig": {"includeThoughts": effort != "none", "thinkingBudget": _BUDGETS[effort]}}
    level = {"none": "MINIMAL", "max": "XHIGH"}.get(effort, effort.upper())
    return {"thinkingConfig": {"includeThoughts": effort != "none", "thinkingLevel": level}}


def _form(form: object) -> dict[str, Any]:
    match form:
        case None | {"type": "text"}:
            return {}
        case {"type": "json_object"}:
            return {"responseMimeType": "application/json"}
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            return {"responseMimeType": "application/json", "responseJsonSchema": schema}
    raise ProviderUnsupported("response_format: this model provider takes text, json_object or json_schema.")
