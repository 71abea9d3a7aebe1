"""UI messages as messages of the chat API.

Left out is all that no model has a use for: sources, data, reasoning, and tools that have not answered.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import orjson

from shared.errors import InvalidRequest

__all__ = ("chat_messages",)

_AUDIO: Final = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}
_PROVIDER: Final = "tailrace"


def chat_messages(messages: object) -> list[dict[str, Any]]:
    """Return the conversation. Raises `InvalidRequest`, which names the place, for what is no UI message."""
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("messages: a list of UI messages is needed, with at least one.", param="messages")
    return [said for number, message in enumerate(messages) for said in _said(_object(message, f"messages.{number}"))]


class _Placed(dict[str, Any]):
    """An object of the request that knows where it stands in it."""

    place: str


def _object(value: object, place: str) -> _Placed:
    if not isinstance(value, dict):
        raise _refused(place, "an object is needed here.")
    placed = _Placed(value)
    placed.place = place
    return placed


def _refused(place: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{place}: {why}", param=place)


def _said(message: _Placed) -> Iterator[dict[str, Any]]:
    parts = _parts(message)
    match message.get("role"):
        case "system":
            yield {"role": "system", "content": _text(parts)}
        case "user":
            yield {"role": "user", "content": _content(parts)}
        case "assistant":
            for step in _steps(parts):
                yield from _step(step)
        case _:
            raise _refused(f"{message.place}.role", "must be system, user or assistant.")


def _parts(message: _Placed) -> list[_Placed]:
    """The parts; older clients send the text alone, as `content`."""
    parts = message.get("parts")
    if parts is None and isinstance(message.get("content"), str):
        parts = [{"type": "text", "text": message["content"]}]
    if not isinstance(parts, list):
        raise _refused(f"{message.place}.parts", "a list of parts is needed.")
    found = [_object(part, f"{message.place}.parts.{number}") for number, part in enumerate(parts)]
    for part in found:
        _string(part, "type")
    return found


def _string(part: _Placed, name: str) -> str:
    value = part.get(name)
    if not isinstance(value, str):
        raise _refused(f"{part.place}.{name}", "a string is needed.")
    return value


def _text(parts: Sequence[_Placed]) -> str:
    return "".join([_string(part, "text") for part in parts if part["type"] == "text"])


def _content(parts: Sequence[_Placed]) -> str | list[dict[str, Any]]:
    """The words of a user: the text alone if there is nothing else."""
    if all(part["type"] != "file" for part in parts):
        return _text(parts)
    shown = []
    for part in parts:
        if part["type"] == "text":
            shown.append({"type": "text", "text": _string(part, "text")})
        elif part["type"] == "file":
            shown.append(_file(part))
    return shown


def _file(part: _Placed) -> dict[str, Any]:
    url, media_type = _string(part, "url"), _string(part, "mediaType").partition(";")[0].strip().lower()
    if media_type.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    if not url.startswith("data:"):
        raise _refused(f"{part.place}.url", "a file that is no image has to be sent whole, as a data: URL.")
    if media_type in _AUDIO:
        audio = {"data": url.partition(",")[2], "format": _AUDIO[media_type]}
        return {"type": "input_audio", "input_audio": audio}
    name = part.get("filename")
    return {"type": "file", "file": {"filename": name if isinstance(name, str) else "file", "file_data": url}}


def _steps(parts: Sequence[_Placed]) -> Iterator[list[_Placed]]:
    step: list[_Placed] = []
    for part in parts:
        if part["type"] == "step-start":
            yield step
            step = []
        else:
            step.append(part)
    yield step


def _step(parts: Sequence[_Placed]) -> Iterator[dict[str, Any]]:
    """The words of the assistant in one step, then the answers of its tools."""
    said, calls, answers = _text(parts), list[dict[str, Any]](), list[dict[str, Any]]()
    for part in parts:
        answer = _answer(part)
        if answer is not None:
            call_id = _string(part, "toolCallId")
            calls.append(_call(part, call_id))
            answers.append({"role": "tool", "tool_call_id": call_id, "content": answer})
    if not said and not calls:
        return
    message: dict[str, Any] = {"role": "assistant", "content": said or None}
    if calls:
        message["tool_calls"] = calls
    yield _wanted_back(parts) | message
    yield from answers


def _answer(part: _Placed) -> str | None:
    """The answer of a tool; None if this is no tool, or it has not answered yet."""
    if _tool_name(part) is None:
        return None
    match part.get("state"):
        case "output-available":
            output = part.get("output")
            return output if isinstance(output, str) else orjson.dumps(output).decode()
        case "output-error":
            return str(part.get("errorText") or "The tool failed.")
        case "output-denied":
            return "The tool was not allowed to run."
        case _:
            return None


def _tool_name(part: _Placed) -> str | None:
    kind: str = part["type"]
    if kind == "dynamic-tool":
        return _string(part, "toolName")
    return kind.removeprefix("tool-") if kind.startswith("tool-") else None


def _call(part: _Placed, call_id: str) -> dict[str, Any]:
    given, raw = part.get("input"), part.get("rawInput")
    arguments = raw if given is None and isinstance(raw, str) else orjson.dumps(given or {}).decode()
    function = {"name": _tool_name(part), "arguments": arguments}
    return _opaque(part.get("callProviderMetadata")) | {"id": call_id, "type": "function", "function": function}


def _wanted_back(parts: Sequence[_Placed]) -> dict[str, Any]:
    """Members of the message that the provider of the reasoning wants back with it, as it sent them."""
    found: dict[str, Any] = {}
    for part in parts:
        if part["type"] == "reasoning":
            found |= _opaque(part.get("providerMetadata"))
    return found


def _opaque(metadata: object) -> dict[str, Any]:
    ours = metadata.get(_PROVIDER) if isinstance(metadata, Mapping) else None
    return dict(ours) if isinstance(ours, Mapping) else {}
