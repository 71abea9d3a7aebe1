"""The input of a request, a text or a list of items, as messages of the chat API."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from services.edge.wires.openai_responses.items import named_item
from shared.errors import InvalidRequest

__all__ = ("References", "messages_of", "referenced_streams")

# Items of earlier responses by their id, in the form in which an input has them.
References = Mapping[str, Mapping[str, Any]]

_TEXTS: Final = {"input_text", "output_text", "text", "summary_text"}
_ROLES: Final = {"user", "assistant", "system", "developer"}


def messages_of(body: Mapping[str, Any], references: References) -> list[dict[str, Any]]:
    """Return the messages. Raises `InvalidRequest`, which names the item that has no place in them."""
    messages: list[dict[str, Any]] = []
    instructions, wanted = body.get("instructions"), body.get("input")
    if instructions:
        if not isinstance(instructions, str):
            raise InvalidRequest("instructions: a text is expected.", param="instructions")
        messages.append({"role": "system", "content": instructions})
    if isinstance(wanted, str):
        return [*messages, {"role": "user", "content": wanted}]
    if not isinstance(wanted, list) or not wanted:
        raise InvalidRequest("input: a text or a list of items is expected.", param="input")
    for number, item in enumerate(wanted):
        _add(messages, item, f"input.{number}", references)
    return messages


def referenced_streams(body: Mapping[str, Any]) -> list[str]:
    """Return the streams with the items that the input names without their content, each once."""
    items = body.get("input")
    found: dict[str, None] = {}
    for item in items if isinstance(items, list) else ():
        named = named_item(_reference(item) or "")
        if named is not None:
            found[named[0]] = None
    return list(found)


def _reference(item: object) -> str | None:
    """The item that another one stands for; reasoning is not sent to a model again."""
    if not isinstance(item, dict) or item.get("type") != "item_reference":
        return None
    item_id = str(item.get("id"))
    return None if item_id.startswith("rs_") else item_id


def _add(messages: list[dict[str, Any]], item: object, where: str, references: References) -> None:
    if not isinstance(item, Mapping):
        raise InvalidRequest(f"{where}: an object is expected.", param=where)
    match item.get("type", "message"):
        case "message":
            messages.append(_message(item, where))
        case "function_call":
            _add_call(messages, item, where)
        case "function_call_output":
            content = _text(item.get("output"), f"{where}.output")
            call_id = _name(item, "call_id", where)
            messages.append({"role": "tool", "tool_call_id": call_id, "content": content})
        case "reasoning":
            return
        case "item_reference":
            item_id = _reference(item)
            if item_id is not None:
                _add(messages, _referenced(item_id, where, references), where, references)
        case _:
            message = f"{where}.type: this kind of item is not supported here; send messages and function calls."
            raise InvalidRequest(message, param=f"{where}.type")


def _referenced(item_id: str, where: str, references: References) -> Mapping[str, Any]:
    found = references.get(item_id)
    if found is None:
        message = (
            f"{where}.id: there is no such item any more; send the item itself (most clients do with store false)."
        )
        raise InvalidRequest(message, param=f"{where}.id")
    return found


def _message(item: Mapping[str, Any], where: str) -> dict[str, Any]:
    role = item.get("role")
    if role not in _ROLES:
        raise InvalidRequest(f"{where}.role: one of {', '.join(sorted(_ROLES))} is expected.", param=f"{where}.role")
    content = item.get("content")
    if isinstance(content, str):
        return {"role": role, "content": content}
    if not isinstance(content, list):
        raise InvalidRequest(f"{where}.content: a text or a list is expected.", param=f"{where}.content")
    parts = list(_parts(content, f"{where}.content"))
    if all(part["type"] == "text" for part in parts) and (role != "user" or len(parts) == 1):
        return {"role": role, "content": "".join(part["text"] for part in parts)}
    return {"role": role, "content": parts}


def _parts(content: list[Any], where: str) -> Iterator[dict[str, Any]]:
    for number, part in enumerate(content):
        yield _part(part, f"{where}.{number}")


def _part(part: object, where: str) -> dict[str, Any]:
    kind = part.get("type") if isinstance(part, dict) else None
    if isinstance(part, dict):
        if kind in _TEXTS and isinstance(part.get("text"), str):
            return {"type": "text", "text": part["text"]}
        if kind == "refusal":
            return {"type": "refusal", "refusal": str(part.get("refusal"))}
        if kind == "input_image" and isinstance(part.get("image_url"), str):
            image = {name: part[key] for name, key in (("url", "image_url"), ("detail", "detail")) if part.get(key)}
            return {"type": "image_url", "image_url": image}
        if kind == "input_file" and part.get("file_data"):
            given = {name: part[name] for name in ("filename", "file_data") if part.get(name)}
            return {"type": "file", "file": given}
        if kind == "input_audio":
            return {"type": "input_audio", "input_audio": part.get("input_audio")}
    message = "a text, an image_url or file_data is expected; files are not kept here, so they have no ids."
    raise InvalidRequest(f"{where}: {message}", param=where)


def _add_call(messages: list[dict[str, Any]], item: Mapping[str, Any], where: str) -> None:
    """A call, in the message of the assistant that made it."""
    function = {"name": _name(item, "name", where), "arguments": str(item.get("arguments") or "{}")}
    call = {"id": _name(item, "call_id", where), "type": "function", "function": function}
    last = messages[-1] if messages else {}
    if last.get("role") == "assistant":
        last.setdefault("tool_calls", []).append(call)
    else:
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})


def _name(item: Mapping[str, Any], member: str, where: str) -> str:
    value = item.get(member)
    if not isinstance(value, str) or not value:
        raise InvalidRequest(f"{where}.{member}: a text is expected.", param=f"{where}.{member}")
    return value


def _text(output: object, where: str) -> str:
    if isinstance(output, str):
        return output
    if isinstance(output, list):
        parts = list(_parts(output, where))
        if all(part["type"] == "text" for part in parts):
            return "".join(part["text"] for part in parts)
    raise InvalidRequest(f"{where}: the output of a function is text here.", param=where)
