"""Requests of the AI SDK's chat transports as requests of ours."""

from collections.abc import Mapping
from typing import Any, Final

from services.edge.api.ai_sdk.conversation import chat_messages
from services.edge.api.asking import validated
from services.edge.api.schemas import CreateStream
from services.edge.wires.ai_sdk.wire import MESSAGE_ID
from shared.errors import InvalidRequest

__all__ = ("MAX_ID_CHARS", "chat_id_of", "chat_request", "start_index_of")

MAX_ID_CHARS: Final = 256
# The transport's own: nothing for a provider.
_IGNORED: Final = frozenset({"id", "trigger", "messageId", "messages", "system", "tools", "stream", "stream_options"})
_MAX_INDEX: Final = 2**53


def chat_request(body: Mapping[str, Any], *, default_model: str) -> CreateStream:
    """Return the request as ours. Raises `InvalidRequest`, which names the field, if it cannot be one."""
    passed = {name: value for name, value in body.items() if name not in _IGNORED}
    passed.setdefault("model", default_model)
    if not passed["model"]:
        message = "model: the body has to name one (`body: {model}` of the transport), as no default_model is set."
        raise InvalidRequest(message, param="model")
    passed["messages"] = [*_system(body), *chat_messages(body.get("messages"))]
    if body.get("tools") is not None:
        passed["tools"] = _tools(body["tools"])
    goes_on_with = _last_answer(body["messages"])
    if goes_on_with is not None and isinstance(passed.setdefault("metadata", {}), dict):
        passed["metadata"] = passed["metadata"] | {MESSAGE_ID: goes_on_with}
    asked: CreateStream = validated(CreateStream, passed)
    return asked


def chat_id_of(body: Mapping[str, Any]) -> str | None:
    """The chat, if the transport says which it is. Raises `InvalidRequest`."""
    chat_id = body.get("id")
    if chat_id is None:
        return None
    if not isinstance(chat_id, str) or not 1 <= len(chat_id) <= MAX_ID_CHARS:
        raise InvalidRequest(f"id: a string of 1 to {MAX_ID_CHARS} characters is needed.", param="id")
    return chat_id


def start_index_of(text: str | None) -> int | None:
    """The number of chunks that a `WorkflowChatTransport` has, or, if negative, wants. Raises `InvalidRequest`."""
    if text is None:
        return None
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < len(str(_MAX_INDEX))):
        raise InvalidRequest("startIndex: a whole number is needed.", param="startIndex")
    return int(text)


def _system(body: Mapping[str, Any]) -> list[dict[str, Any]]:
    said = body.get("system")
    if said is None or said == "":
        return []
    if not isinstance(said, str):
        raise InvalidRequest("system: a string is needed.", param="system")
    return [{"role": "system", "content": said}]


def _tools(tools: object) -> object:
    """Tools as the chat API lists them, or by name, each with its `description` and `inputSchema`."""
    if not isinstance(tools, dict):
        return tools
    return [_tool(name, tool) for name, tool in tools.items()]


def _tool(name: str, tool: object) -> dict[str, Any]:
    if not isinstance(tool, dict):
        raise InvalidRequest(f"tools.{name}: an object with description and inputSchema is needed.", param="tools")
    schema = tool.get("inputSchema", tool.get("parameters", {"type": "object", "properties": {}}))
    said = {"description": tool["description"]} if isinstance(tool.get("description"), str) else {}
    return {"type": "function", "function": {"name": name, **said, "parameters": schema}}


def _last_answer(messages: list[dict[str, Any]]) -> str | None:
    """The id of the answer that this one goes on with, because tools of the page have answered."""
    last = messages[-1]
    message_id = last.get("id") if last.get("role") == "assistant" else None
    return message_id if isinstance(message_id, str) and 1 <= len(message_id) <= MAX_ID_CHARS else None
