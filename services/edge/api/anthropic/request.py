"""Requests of Anthropic's Messages API as requests of ours."""

from collections.abc import Mapping
from typing import Any, Final

from services.edge.api.anthropic.conversation import chat_messages
from services.edge.api.asking import validated
from services.edge.api.schemas import CreateStream
from shared.errors import InvalidRequest

__all__ = ("message_request",)

# Nothing for us or for another provider.
_IGNORED: Final = frozenset({"cache_control", "context_management", "service_tier", "inference_geo"})
_TRANSLATED: Final = frozenset(
    {"messages", "system", "tools", "tool_choice", "stop_sequences", "metadata", "thinking", "output_config"}
)
_REFUSED: Final = {
    "container": "No provider's containers are used here: leave it out.",
    "mcp_servers": "Tools that the provider would run itself are not supported here: describe them as tools.",
}
_CHOICES: Final[dict[str, str]] = {"auto": "auto", "any": "required", "none": "none"}
# The budget of thinking tokens up to which an effort is that.
_EFFORTS: Final = ((2_048, "low"), (16_384, "medium"))


def message_request(body: Mapping[str, Any]) -> CreateStream:
    """Return the request as ours. Raises `InvalidRequest`, which names the field, if it cannot be one."""
    for name, advice in _REFUSED.items():
        if body.get(name):
            raise InvalidRequest(f"{name} is not supported here. {advice}", param=name)
    if "max_tokens" not in body:
        raise InvalidRequest("max_tokens: Field required", param="max_tokens")
    passed = {name: value for name, value in body.items() if name not in _IGNORED | _TRANSLATED}
    wanted = passed | {"messages": chat_messages(body.get("system"), body.get("messages"))} | _options(body)
    asked: CreateStream = validated(CreateStream, wanted)
    return asked


def _options(body: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    if body.get("tools") is not None:
        options["tools"] = [_tool(number, tool) for number, tool in enumerate(_listed(body["tools"], "tools"))]
    if body.get("tool_choice") is not None:
        options |= _choice(_object(body["tool_choice"], "tool_choice"))
    if body.get("stop_sequences"):
        options["stop"] = body["stop_sequences"]
    user = _object(body.get("metadata") or {}, "metadata").get("user_id")
    if isinstance(user, str):
        options["user"] = user[:1024]
    effort = _effort(body)
    if effort is not None:
        options["reasoning_effort"] = effort
    return options


def _tool(number: int, tool: object) -> dict[str, Any]:
    fields = _object(tool, f"tools.{number}")
    if fields.get("type") not in (None, "custom"):
        param = f"tools.{number}.type"
        message = "a tool that the provider would run itself is not supported here; describe it by its input_schema."
        raise InvalidRequest(f"{param}: {message}", param=param)
    if not isinstance(fields.get("name"), str):
        raise InvalidRequest(f"tools.{number}.name: Field required", param=f"tools.{number}.name")
    function = {"name": fields["name"], "parameters": fields.get("input_schema") or {"type": "object"}}
    if isinstance(fields.get("description"), str):
        function["description"] = fields["description"]
    return {"type": "function", "function": function}


def _choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    options: dict[str, Any] = {}
    kind = choice.get("type")
    if kind == "tool":
        options["tool_choice"] = {"type": "function", "function": {"name": choice.get("name")}}
    elif isinstance(kind, str) and kind in _CHOICES:
        options["tool_choice"] = _CHOICES[kind]
    else:
        message = "tool_choice.type: one of auto, any, tool, none"
        raise InvalidRequest(message, param="tool_choice.type")
    if choice.get("disable_parallel_tool_use"):
        options["parallel_tool_calls"] = False
    return options


def _effort(body: Mapping[str, Any]) -> str | None:
    """Return how much to think, as other providers take it: by a word."""
    effort = _object(body.get("output_config") or {}, "output_config").get("effort")
    if isinstance(effort, str):
        return effort
    thinking = _object(body.get("thinking") or {}, "thinking")
    if thinking.get("type") != "enabled":
        return None
    budget = thinking.get("budget_tokens")
    if not isinstance(budget, int):
        return "medium"
    return next((name for most, name in _EFFORTS if budget <= most), "high")


def _object(value: object, param: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRequest(f"{param}: Input should be an object", param=param)
    return value


def _listed(value: object, param: str) -> list[Any]:
    if not isinstance(value, list):
        raise InvalidRequest(f"{param}: Input should be a list", param=param)
    return value
