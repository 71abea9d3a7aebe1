"""A conversation in the blocks of Anthropic's API as messages of the chat API."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from shared.errors import InvalidRequest

__all__ = ("chat_messages",)

# Thinking is of no use to another provider, and Anthropic refuses it without its signature.
_DROPPED: Final = frozenset({"thinking", "redacted_thinking"})


def chat_messages(system: object, messages: object) -> list[dict[str, Any]]:
    """Return the messages, the system's first. Raises `InvalidRequest` for a block that has no place in them."""
    if not isinstance(messages, list):
        raise InvalidRequest("messages: Field required", param="messages")
    translated = [{"role": "system", "content": _joined(system, "system")}] if system else []
    for number, message in enumerate(messages):
        translated += _translated(message, f"messages.{number}")
    return translated


def _translated(message: object, where: str) -> list[dict[str, Any]]:
    if not isinstance(message, dict) or message.get("role") not in ("user", "assistant", "system"):
        raise InvalidRequest(f"{where}.role: one of user, assistant", param=f"{where}.role")
    role, content = message["role"], message.get("content")
    if isinstance(content, str):
        return [{"role": role, "content": content}]
    blocks = list(_blocks(content, f"{where}.content"))
    return [_said_by_assistant(blocks)] if role == "assistant" else list(_said_by_user(role, blocks))


def _blocks(content: object, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(content, list):
        raise InvalidRequest(f"{where}: a text or a list of blocks", param=where)
    for number, block in enumerate(content):
        if not isinstance(block, dict) or not isinstance(block.get("type"), str):
            raise InvalidRequest(f"{where}.{number}: a block has a type", param=f"{where}.{number}")
        if block["type"] not in _DROPPED:
            yield f"{where}.{number}", block


def _said_by_assistant(blocks: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None}
    for where, block in blocks:
        match block["type"]:
            case "text":
                message["content"] = (message["content"] or "") + _text(block, where)
            case "tool_use":
                function = {"name": block.get("name"), "arguments": orjson.dumps(block.get("input") or {}).decode()}
                call = {"id": block.get("id"), "type": "function", "function": function}
                message.setdefault("tool_calls", []).append(call)
            case kind:
                raise _no_place(where, kind)
    return message


def _said_by_user(role: str, blocks: list[tuple[str, dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """The results of tools are messages of their own, and come first: they answer what was said before."""
    parts = []
    for where, block in blocks:
        if block["type"] == "tool_result":
            yield {"role": "tool", "tool_call_id": block.get("tool_use_id"), "content": _result(block, where)}
        else:
            parts.append(_part(block, where))
    if parts:
        yield {"role": role, "content": parts}


def _part(block: dict[str, Any], where: str) -> dict[str, Any]:
    match block["type"]:
        case "text":
            return {"type": "text", "text": _text(block, where)}
        case "image":
            return {"type": "image_url", "image_url": {"url": _url(block.get("source"), where)}}
        case "document":
            return _document(block, where)
        case kind:
            raise _no_place(where, kind)


def _document(block: dict[str, Any], where: str) -> dict[str, Any]:
    source = block.get("source")
    if isinstance(source, dict) and source.get("type") == "text":
        return {"type": "text", "text": str(source.get("data", ""))}
    name = block.get("title") or "document"
    return {"type": "file", "file": {"filename": name, "file_data": _url(source, where)}}


def _url(source: object, where: str) -> str:
    """Return an address, or the data in one."""
    match source:
        case {"type": "base64", "media_type": str(media_type), "data": str(data)}:
            return f"data:{media_type};base64,{data}"
        case {"type": "url", "url": str(url)}:
            return url
        case _:
            param = f"{where}.source"
            raise InvalidRequest(f"{param}: base64 data with its media_type, or a url", param=param)


def _result(block: Mapping[str, Any], where: str) -> str:
    """Return the result of a tool as text; the chat API has no pictures there."""
    text = _joined(block.get("content") or "", f"{where}.content")
    return f"Error: {text}" if block.get("is_error") else text


def _joined(content: object, where: str) -> str:
    if isinstance(content, str):
        return content
    texts = []
    for place, block in _blocks(content, where):
        if block["type"] != "text":
            raise _no_place(place, block["type"])
        texts.append(_text(block, place))
    return "\n\n".join(texts)


def _text(block: Mapping[str, Any], where: str) -> str:
    text = block.get("text")
    if not isinstance(text, str):
        raise InvalidRequest(f"{where}.text: Field required", param=f"{where}.text")
    return text


def _no_place(where: str, kind: str) -> InvalidRequest:
    return InvalidRequest(f"{where}: a block of type {kind[:64]} is not supported here.", param=where)
