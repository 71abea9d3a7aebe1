"""Output items: each part of a message is one, numbered in the order in which the parts began."""

from typing import Any, Final, NamedTuple

from shared.log.lineage import Lineage

__all__ = ("Naming", "begun_item", "content_part", "item_of", "items_of", "named_item")

# Numbers of the items of one attempt. One that begins the log anew has others, so that both can be told to a reader.
_ITEMS_OF_AN_ATTEMPT: Final = 1 << 16
_PREFIXES: Final = {"reasoning": "rs", "text": "msg", "refusal": "msg", "tool_call": "fc", "file": "ig"}
_MAX_INDEX_CHARS: Final = 16


class Naming(NamedTuple):
    """The names of the items of one stream; `first` is the output index of the first."""

    stream_id: str
    first: int

    @classmethod
    def of(cls, stream_id: str, began: int) -> "Naming":
        """Return the names in a log that attempt number `began` began."""
        return cls(stream_id, (began - 1) * _ITEMS_OF_AN_ATTEMPT)

    @classmethod
    def along(cls, stream_id: str, lineage: Lineage) -> "Naming":
        return cls.of(stream_id, max(lineage.beginning, 1))

    def output_index(self, number: int) -> int:
        return self.first + number

    def id(self, kind: str, number: int) -> str:
        return f"{_PREFIXES[kind]}_{self.stream_id}_{self.output_index(number)}"


def named_item(item_id: str) -> tuple[str, int] | None:
    """Return the stream and the output index that the id of an item names; None if it is no id of ours."""
    prefix, _, rest = item_id.partition("_")
    stream_id, _, index = rest.rpartition("_")
    is_number = index.isascii() and index.isdigit() and len(index) <= _MAX_INDEX_CHARS
    return (stream_id, int(index)) if is_number and prefix in _PREFIXES.values() else None


def begun_item(naming: Naming, number: int, kind: str, fields: dict[str, Any]) -> dict[str, Any]:
    """Return an item without content; `fields` are those of the event that begins it."""
    content: dict[str, Any]
    match kind:
        case "reasoning":
            content = {"type": "reasoning", "summary": []}
        case "tool_call":
            called = {"call_id": fields.get("id", ""), "name": fields.get("name", "")}
            content = {"type": "function_call", **called, "arguments": ""}
        case "file":
            content = {"type": "image_generation_call", "result": None}
        case _:
            content = {"type": "message", "role": "assistant", "content": []}
    return {"id": naming.id(kind, number), "status": "in_progress", **content}


def item_of(naming: Naming, number: int, part: dict[str, Any], status: str) -> dict[str, Any]:
    """Return the item of a part of the message."""
    kind = part["type"]
    item = {**begun_item(naming, number, kind, part), "status": status}
    if kind == "tool_call":
        item["arguments"] = part["arguments"]
    elif kind == "file":
        item["result"] = _image(part["url"])
    elif kind == "reasoning":
        item["summary"] = [content_part(kind, part["text"])] if part["text"] else []
    else:
        item["content"] = [content_part(kind, part["text"], part.get("annotations", ()))]
    return item


def items_of(naming: Naming, parts: list[dict[str, Any]], status: str) -> list[dict[str, Any]]:
    """Return the parts of a message as items. Only the last can lack something."""
    last = len(parts) - 1
    return [
        item_of(naming, number, part, status if number == last else "completed") for number, part in enumerate(parts)
    ]


def content_part(kind: str, text: str, annotations: Any = ()) -> dict[str, Any]:
    """Return the one part of a message's content, or of a summary."""
    if kind == "text":
        return {"type": "output_text", "text": text, "annotations": list(annotations), "logprobs": []}
    return {"type": "refusal", "refusal": text} if kind == "refusal" else {"type": "summary_text", "text": text}


def _image(url: str) -> str:
    """Return the data of a data URL, which is what this API has; else the address."""
    head, comma, data = url.partition(",")
    return data if comma and head.startswith("data:") and head.endswith(";base64") else url
