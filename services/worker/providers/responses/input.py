"""Turns of a conversation as the items of OpenAI's Responses API."""

from collections.abc import Iterator, Sequence
from typing import Any

import orjson

from services.worker.providers.conversation.turns import Call, Media, Result, Said, Thought, Turn
from shared.errors import ProviderUnsupported

__all__ = ("items_of",)


def items_of(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """The items, in the order in which they were said."""
    return [item for turn in turns for item in _items(turn)]


def _items(turn: Turn) -> Iterator[dict[str, Any]]:
    content: list[dict[str, Any]] = []
    yield from _kept(turn.data)
    for part in turn.parts:
        match part:
            case Thought(_, data):
                yield from _kept(data)
            case Said(text):
                content.append({"type": "output_text" if turn.role == "assistant" else "input_text", "text": text})
            case Media():
                content.append(_media(part))
    if content:
        yield {"type": "message", "role": turn.role, "content": content}
    for part in turn.parts:
        match part:
            case Call(call_id, name, arguments):
                given = orjson.dumps(arguments).decode()
                yield {"type": "function_call", "call_id": call_id, "name": name, "arguments": given}
            case Result(call_id):
                yield {"type": "function_call_output", "call_id": call_id, "output": _output(part)}


def _kept(data: Any) -> list[dict[str, Any]]:
    """Return the items of reasoning in a provider's data; a summary is a member that they must have."""
    items = data.get("reasoning_items")
    found = [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []
    return [{"summary": [], **item} for item in found if item.get("type") == "reasoning"]


def _output(result: Result) -> str | list[dict[str, Any]]:
    if not any(isinstance(part, Media) for part in result.content):
        return result.text
    parts = [{"type": "input_text", "text": part.text} for part in result.content if isinstance(part, Said)]
    return [*parts, *(_media(part) for part in result.content if isinstance(part, Media))]


def _media(part: Media) -> dict[str, Any]:
    address = f"data:{part.media_type};base64,{part.data}" if part.data else part.url
    if part.kind == "image" or part.media_type.startswith("image/"):
        return {"type": "input_image", **({"file_id": part.file_id} if part.file_id else {"image_url": address})}
    if part.kind != "file":
        raise ProviderUnsupported(f"messages: this model provider takes no {part.kind}.")
    if part.file_id:
        return {"type": "input_file", "file_id": part.file_id}
    if part.url:
        return {"type": "input_file", "file_url": part.url}
    return {"type": "input_file", "filename": part.name or "file", "file_data": address}
