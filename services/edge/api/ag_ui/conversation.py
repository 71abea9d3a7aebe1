"""Messages of AG-UI as messages of the chat API.

A client may hold what an assistant said in one turn as several messages: they become one, which the answers of its
tools follow. Activities are for people only; reasoning is left out, but what its provider wants back goes along.
"""

from collections.abc import Iterator
from typing import Any, Final

import orjson

from shared.errors import InvalidRequest

__all__ = ("chat_messages",)

_LEFT_OUT: Final = frozenset({"activity"})
_AUDIO: Final = {"audio/wav": "wav", "audio/x-wav": "wav", "audio/mpeg": "mp3", "audio/mp3": "mp3"}


def chat_messages(messages: object) -> list[dict[str, Any]]:
    """Return the conversation. Raises `InvalidRequest`, which names the place, for what has none in it."""
    if not isinstance(messages, list) or not messages:
        raise InvalidRequest("messages: a list of messages is needed, with at least one.", param="messages")
    said: list[dict[str, Any]] = []
    kept: dict[str, Any] = {}
    for number, message in enumerate(messages):
        where = f"messages.{number}"
        match _object(message, where).get("role"):
            case "reasoning":
                kept |= _opaque(message.get("encryptedValue"))
            case "assistant":
                _add(said, kept | _assistant(message, where))
                kept = {}
            case role if role not in _LEFT_OUT:
                said.append(_other(message, role, where))
    return said


def _object(value: object, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _refused(where, "an object is needed here.")
    return value


def _refused(where: str, why: str) -> InvalidRequest:
    return InvalidRequest(f"{where}: {why}", param=where)


def _string(value: dict[str, Any], name: str, where: str) -> str:
    found = value.get(name)
    if not isinstance(found, str):
        raise _refused(f"{where}.{name}", "a string is needed.")
    return found


def _add(said: list[dict[str, Any]], message: dict[str, Any]) -> None:
    """Go on with what the assistant is saying, or begin."""
    if not said or said[-1]["role"] != "assistant":
        said.append(message)
        return
    calls = [*said[-1].get("tool_calls", ()), *message.get("tool_calls", ())]
    content = (said[-1]["content"] or "") + (message["content"] or "")
    said[-1] |= message | {"content": content or None} | ({"tool_calls": calls} if calls else {})


def _assistant(message: dict[str, Any], where: str) -> dict[str, Any]:
    content, calls = message.get("content"), message.get("toolCalls")
    if content is not None and not isinstance(content, str):
        raise _refused(f"{where}.content", "a string is needed.")
    said: dict[str, Any] = {"role": "assistant", "content": content or None}
    if calls:
        if not isinstance(calls, list):
            raise _refused(f"{where}.toolCalls", "a list is needed.")
        said["tool_calls"] = [_call(call, f"{where}.toolCalls.{number}") for number, call in enumerate(calls)]
    return said


def _call(value: object, where: str) -> dict[str, Any]:
    call = _object(value, where)
    given = _object(call.get("function"), f"{where}.function")
    function = {name: _string(given, name, f"{where}.function") for name in ("name", "arguments")}
    named = {"id": _string(call, "id", where), "type": "function", "function": function}
    return _opaque(call.get("encryptedValue")) | named


def _opaque(value: object) -> dict[str, Any]:
    """Return what we gave the client to keep; nothing if somebody else did."""
    if not isinstance(value, str):
        return {}
    try:
        kept = orjson.loads(value)
    except orjson.JSONDecodeError:
        return {}
    return kept if isinstance(kept, dict) else {}


def _other(message: dict[str, Any], role: object, where: str) -> dict[str, Any]:
    content = message.get("content")
    match role:
        case "system" | "developer":
            return {"role": role, "content": _string(message, "content", where)}
        case "user":
            return {"role": role, "content": content if isinstance(content, str) else _parts(content, where)}
        case "tool":
            answer = content if isinstance(content, str) else _text(content, where)
            error = message.get("error")
            text = f"Error: {error}" if isinstance(error, str) and error and not answer else answer
            return {"role": role, "tool_call_id": _string(message, "toolCallId", where), "content": text}
        case _:
            raise _refused(f"{where}.role", "one of user, assistant, system, developer, tool, reasoning, activity.")


def _listed(content: object, where: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if not isinstance(content, list):
        raise _refused(f"{where}.content", "a text or a list of parts is needed.")
    for number, part in enumerate(content):
        place = f"{where}.content.{number}"
        yield place, _object(part, place)


def _text(content: object, where: str) -> str:
    texts = []
    for place, part in _listed(content, where):
        if part.get("type") != "text":
            raise _refused(place, "the chat API has only text for the answer of a tool.")
        texts.append(_string(part, "text", place))
    return "".join(texts)


def _parts(content: object, where: str) -> list[dict[str, Any]]:
    return [_part(part, place) for place, part in _listed(content, where)]


def _part(part: dict[str, Any], where: str) -> dict[str, Any]:
    match part.get("type"):
        case "text":
            return {"type": "text", "text": _string(part, "text", where)}
        case "image":
            return {"type": "image_url", "image_url": {"url": _url(part, where)}}
        case "audio":
            return _audio(part, where)
        case "document":
            return _document(part, where)
        case "binary":  # as clients said it before 1.0
            return _binary(part, where)
        case _:
            raise _refused(f"{where}.type", "one of text, image, audio, document is supported here.")


def _url(part: dict[str, Any], where: str) -> str:
    """The address of what a part shows, or the data in one."""
    place = f"{where}.source"
    source = _object(part.get("source"), place)
    match source.get("type"):
        case "url":
            return _string(source, "value", place)
        case "data":
            return f"data:{_string(source, 'mimeType', place)};base64,{_string(source, 'value', place)}"
        case _:
            raise _refused(f"{place}.type", "data or url; files of a provider are not known here.")


def _audio(part: dict[str, Any], where: str) -> dict[str, Any]:
    source = _object(part.get("source"), f"{where}.source")
    name = _AUDIO.get(str(source.get("mimeType")).partition(";")[0])
    if source.get("type") != "data" or name is None:
        raise _refused(f"{where}.source", "audio has to be sent whole, as WAV or MP3.")
    return {"type": "input_audio", "input_audio": {"data": _string(source, "value", where), "format": name}}


def _document(part: dict[str, Any], where: str) -> dict[str, Any]:
    url = _url(part, where)
    if not url.startswith("data:"):
        raise _refused(f"{where}.source", "a document has to be sent whole, as data.")
    metadata = part.get("metadata")
    name = metadata.get("filename") if isinstance(metadata, dict) else None
    return {"type": "file", "file": {"filename": name if isinstance(name, str) else "document", "file_data": url}}


def _binary(part: dict[str, Any], where: str) -> dict[str, Any]:
    media_type = _string(part, "mimeType", where)
    url = part.get("url") or f"data:{media_type};base64,{_string(part, 'data', where)}"
    if media_type.startswith("image/"):
        return {"type": "image_url", "image_url": {"url": url}}
    name = part.get("filename")
    return {"type": "file", "file": {"filename": name if isinstance(name, str) else "document", "file_data": url}}
