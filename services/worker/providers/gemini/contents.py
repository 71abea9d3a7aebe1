"""Turns of a conversation as Gemini's contents."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from services.worker.providers.conversation.turns import Call, Media, Part, Result, Said, Thought, Turn
from shared.errors import ProviderRejected, ProviderUnsupported

__all__ = ("contents_of",)


def contents_of(turns: Sequence[Turn]) -> list[dict[str, Any]]:
    """All turns but the system's; neighbours of one role are one content."""
    contents: list[dict[str, Any]] = []
    for turn in turns:
        if turn.role == "system":
            continue
        role = "model" if turn.role == "assistant" else "user"
        parts = [part for each in turn.parts for part in _parts(each)]
        _sign_last(parts, turn.data)
        if contents and contents[-1]["role"] == role:
            contents[-1]["parts"] += parts
        elif parts:
            contents.append({"role": role, "parts": parts})
    if not contents:
        raise ProviderRejected("messages: there is nothing but a system turn.")
    return contents


def _sign_last(parts: list[dict[str, Any]], data: Mapping[str, Any]) -> None:
    """Put the signature of a whole message on its last text."""
    signed = _signature(data)
    texts = [part for part in parts if "text" in part and "thought" not in part]
    if signed and texts:
        texts[-1].update(signed)


def _parts(part: Part) -> Iterator[dict[str, Any]]:
    match part:
        case Said(text, data):
            if text:
                yield {"text": text, **_signature(data)}
        case Media():
            yield _media(part)
        case Thought(_, data):
            # Thoughts are not taken back; their signature is.
            if signed := _signature(data):
                yield {"text": "", **signed}
        case Call(call_id, name, arguments, data):
            given = {} if call_id.startswith("call_") and call_id[5:].isdigit() else {"id": call_id}
            yield {"functionCall": {**given, "name": name, "args": arguments}, **_signature(data)}
        case Result(call_id, name, content):
            yield _result(call_id, name, part)
            for each in content:
                if isinstance(each, Media):
                    yield _media(each)


def _result(call_id: str, name: str, result: Result) -> dict[str, Any]:
    """The result as an object, which is what Gemini takes; a text becomes the member `result` of one."""
    if not name:
        raise ProviderRejected("messages: the result of a tool answers a call that is not in the conversation.")
    try:
        value = orjson.loads(result.text)
    except orjson.JSONDecodeError:
        value = result.text
    given = {} if call_id.startswith("call_") and call_id[5:].isdigit() else {"id": call_id}
    response = value if isinstance(value, dict) else {"result": value}
    return {"functionResponse": {**given, "name": name, "response": response}}


def _media(part: Media) -> dict[str, Any]:
    if part.data:
        return {"inlineData": {"mimeType": part.media_type, "data": part.data}}
    if part.file_id:
        return {"fileData": {"fileUri": part.file_id}}
    if not part.media_type:
        raise ProviderUnsupported("messages: this model provider needs to be told the type of a file: send its data.")
    return {"fileData": {"mimeType": part.media_type, "fileUri": part.url}}


def _signature(data: Mapping[str, Any]) -> dict[str, str]:
    extra = data.get("extra_content")
    google = (extra.get("google") or extra.get("vertex")) if isinstance(extra, dict) else None
    signature = google.get("thought_signature") if isinstance(google, dict) else data.get("thought_signature")
    return {"thoughtSignature": signature} if isinstance(signature, str) and signature else {}
