"""Frames, and the ones that begin and end an item."""

import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from services.edge.wires.openai_responses.items import Naming, begun_item, content_part, item_of
from shared.log.events import json_line

__all__ = ("Said", "beginning", "delta_around", "ending", "framed", "told_bytes")

_NUMBER: Final = re.compile(rb'event: [a-z_.]+\ndata: \{"type":"[a-z_.]+","sequence_number":([0-9]+)')
_DELTAS: Final = {
    "text": "response.output_text.delta",
    "reasoning": "response.reasoning_summary_text.delta",
    "refusal": "response.refusal.delta",
    "tool_call": "response.function_call_arguments.delta",
}


class Said(NamedTuple):
    """A frame without its number."""

    kind: str
    fields: dict[str, Any]


def framed(said: Said, number: int) -> bytes:
    line = json_line({"type": said.kind, "sequence_number": number, **said.fields})
    return b"event: %b\ndata: %b\n\n" % (said.kind.encode(), line)


def told_bytes(payload: bytes, number: int) -> int:
    """Return the length of the frames at the beginning of a payload whose numbers are not after this one."""
    at = 0
    while (found := _NUMBER.match(payload, at)) is not None and int(found[1]) <= number:
        at = payload.index(b"\n\n", at) + 2
    return at


def delta_around(naming: Naming, kind: str, number: int) -> tuple[bytes, bytes, bytes]:
    """Return the bytes before the number of a delta, between it and the text, and behind that."""
    name = _DELTAS[kind].encode()
    where = json_line(_where(naming, kind, number))[1:-1]
    behind = b',"logprobs":[]}\n\n' if kind == "text" else b"}\n\n"
    return b'event: %b\ndata: {"type":"%b","sequence_number":' % (name, name), b',%b,"delta":' % where, behind


def beginning(naming: Naming, number: int, kind: str, fields: dict[str, Any]) -> Iterator[Said]:
    """Return the frames that begin an item."""
    item = begun_item(naming, number, kind, fields)
    yield Said("response.output_item.added", {"output_index": naming.output_index(number), "item": item})
    if kind == "reasoning":
        part = {"part": content_part(kind, "")}
        yield Said("response.reasoning_summary_part.added", _where(naming, kind, number) | part)
    elif kind in {"text", "refusal"}:
        yield Said("response.content_part.added", _where(naming, kind, number) | {"part": content_part(kind, "")})


def ending(naming: Naming, number: int, part: dict[str, Any], status: str, *, is_short: bool) -> Iterator[Said]:
    """Return the frames that end an item; its text is told once more, or twice if it `is_short`."""
    if is_short:
        yield from _ended_content(naming, number, part)
    item = item_of(naming, number, part, status)
    yield Said("response.output_item.done", {"output_index": naming.output_index(number), "item": item})


def _ended_content(naming: Naming, number: int, part: dict[str, Any]) -> Iterator[Said]:
    kind = part["type"]
    where = _where(naming, kind, number)
    match kind:
        case "tool_call":
            arguments = {"name": part["name"], "arguments": part["arguments"]}
            yield Said("response.function_call_arguments.done", where | arguments)
        case "reasoning":
            yield Said("response.reasoning_summary_text.done", where | {"text": part["text"]})
            yield Said("response.reasoning_summary_part.done", where | {"part": content_part(kind, part["text"])})
        case "text":
            whole = content_part(kind, part["text"], part.get("annotations", ()))
            yield Said("response.output_text.done", where | {"text": part["text"], "logprobs": []})
            yield Said("response.content_part.done", where | {"part": whole})
        case "refusal":
            yield Said("response.refusal.done", where | {"refusal": part["text"]})
            yield Said("response.content_part.done", where | {"part": content_part(kind, part["text"])})
        case _:
            return


def _where(naming: Naming, kind: str, number: int) -> dict[str, Any]:
    where = {"item_id": naming.id(kind, number), "output_index": naming.output_index(number)}
    if kind == "reasoning":
        return where | {"summary_index": 0}
    return where | {"content_index": 0} if kind in {"text", "refusal"} else where
