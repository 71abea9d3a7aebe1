"""Messages in the chat form as turns of parts, for dialects that have another form. Bad ones are refused here.

Roles: `system` (also developer), `user`, `assistant`, `tool`. The results of tools are parts of a `tool` turn.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from services.worker.providers.conversation.addresses import check_address
from shared.errors import ProviderRejected, ProviderUnsupported
from shared.settings.providers import ProviderSettings

__all__ = ("Call", "Media", "Part", "Result", "Said", "Thought", "Turn", "turns_of")

_ROLES: Final = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant", "tool": "tool"}
_AUDIO: Final = {"mp3": "audio/mpeg", "m4a": "audio/mp4"}
_BY_ENDING: Final = {
    "gif": "image/gif",
    "jpeg": "image/jpeg",
    "jpg": "image/jpeg",
    "mp4": "video/mp4",
    "pdf": "application/pdf",
    "png": "image/png",
    "webp": "image/webp",
}


@dataclass(frozen=True, slots=True)
class Said:
    """A text. `data` is what its provider wants back with it."""

    text: str = field(repr=False)
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Media:
    """`kind`: image, audio, video or file. Either its base64 `data` is there, or a `url`, or a `file_id`."""

    kind: str
    media_type: str = ""
    url: str = field(default="", repr=False)
    data: str = field(default="", repr=False)
    file_id: str = field(default="", repr=False)
    name: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Thought:
    """Reasoning of an earlier turn. It is sent back only with the data that proves it."""

    text: str = field(repr=False)
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool; its arguments are an object."""

    id: str
    name: str
    arguments: Mapping[str, Any] = field(repr=False)
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a call. `name` is that of the tool, as far as the conversation tells."""

    id: str
    name: str
    content: tuple["Said | Media", ...] = field(repr=False)

    @property
    def text(self) -> str:
        return "\n\n".join(part.text for part in self.content if isinstance(part, Said))


Part = Said | Media | Thought | Call | Result


@dataclass(frozen=True, slots=True)
class Turn:
    """A message. `data` is what its provider wants back with it as a whole."""

    role: str
    parts: tuple[Part, ...] = field(repr=False)
    data: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def text(self) -> str:
        return "\n\n".join(part.text for part in self.parts if isinstance(part, Said))


def turns_of(messages: Sequence[Mapping[str, Any]], settings: ProviderSettings) -> list[Turn]:
    """The messages as turns. Raises `ProviderRejected` for a bad one, `ProviderUnsupported` for what may not pass."""
    names: dict[str, str] = {}
    turns = []
    for number, message in enumerate(messages):
        turn = _Message(message, settings, f"messages[{number}]").turn(names)
        names |= {part.id: part.name for part in turn.parts if isinstance(part, Call)}
        turns.append(turn)
    return turns


class _Message:
    """One message being read. `where` names it in errors."""

    def __init__(self, message: object, settings: ProviderSettings, where: str) -> None:
        if not isinstance(message, dict) or message.get("role") not in _ROLES:
            raise ProviderRejected(f"{where}: a message has a role.")
        self._fields: dict[str, Any] = message
        self._settings = settings
        self._where = where

    def turn(self, names: Mapping[str, str]) -> Turn:
        role = _ROLES[self._fields["role"]]
        data = _opaque(self._fields)
        if role == "tool":
            call_id = self._text(self._fields.get("tool_call_id"), "tool_call_id")
            content = tuple(part for part in self._parts() if isinstance(part, Said | Media))
            name = names.get(call_id) or str(self._fields.get("name") or "")
            return Turn(role, (Result(call_id, name, content),), data)
        parts = [*self._thoughts(), *self._parts(), *self._calls()]
        return Turn(role, tuple(parts), data)

    def _thoughts(self) -> Iterator[Thought]:
        for block in _list(self._fields.get("thinking_blocks")):
            yield Thought(str(block.get("thinking") or ""), block)

    def _parts(self) -> Iterator[Part]:
        content = self._fields.get("content")
        if isinstance(content, str):
            if content:
                yield Said(content)
        elif isinstance(content, list):
            for number, part in enumerate(content):
                yield self._part(part, f"{self._where}.content[{number}]")
        elif content is not None:
            raise ProviderRejected(f"{self._where}.content: a text or a list of parts.")

    def _part(self, part: object, where: str) -> Part:
        if not isinstance(part, dict) or not isinstance(part.get("type"), str):
            raise ProviderRejected(f"{where}: a part is an object with a type.")
        match part["type"]:
            case "text" | "input_text" | "output_text" | "refusal":
                return Said(self._text(part.get("text", part.get("refusal")), where), _opaque(part))
            case "image_url" | "video_url" | "audio_url":
                kind = part["type"].removesuffix("_url")
                return self._address(kind, part.get(part["type"]), where)
            case "input_audio":
                return self._audio(part.get("input_audio"), where)
            case "file":
                return self._file(part.get("file", part), where)
            case "reasoning" | "thinking" | "redacted_thinking":
                return Thought(str(part.get("text") or part.get("thinking") or ""), _opaque(part) or part)
            case "tool_call":
                return self._call({"id": part.get("id"), "function": part, **_opaque(part)}, where)
        raise ProviderUnsupported(f"{where}: this model provider may not be sent a part of this type.")

    def _address(self, kind: str, value: object, where: str) -> Media:
        url = self._text(value.get("url") if isinstance(value, dict) else value, where)
        check_address(url, self._settings, where=where)
        return self._of_url(kind, url, where)

    def _of_url(self, kind: str, url: str, where: str, *, name: str = "") -> Media:
        if not url.startswith("data:"):
            return Media(kind, _BY_ENDING.get(url.partition("?")[0].rpartition(".")[2].lower(), ""), url, name=name)
        head, comma, data = url[5:].partition(",")
        media_type, *attributes = head.split(";")
        if not comma or "base64" not in attributes or not media_type:
            raise ProviderRejected(f"{where}: a data URL has a media type and is base64.")
        return Media(kind, media_type, data=data, name=name)

    def _audio(self, value: object, where: str) -> Media:
        fields = value if isinstance(value, dict) else {}
        named = self._text(fields.get("format"), where)
        return Media("audio", _AUDIO.get(named, f"audio/{named}"), data=self._text(fields.get("data"), where))

    def _file(self, value: object, where: str) -> Media:
        fields = value if isinstance(value, dict) else {}
        name = str(fields.get("filename") or "")
        if isinstance(fields.get("file_id"), str) and fields["file_id"]:
            return Media("file", file_id=fields["file_id"], name=name)
        url = fields.get("file_data") or fields.get("file_url") or fields.get("url")
        text = self._text(url, where)
        if ":" not in text[:16]:
            ending = name.rpartition(".")[2].lower()
            return Media("file", _BY_ENDING.get(ending, "application/pdf"), data=text, name=name)
        check_address(text, self._settings, where=where)
        return self._of_url("file", text, where, name=name)

    def _calls(self) -> Iterator[Call]:
        for number, call in enumerate(_list(self._fields.get("tool_calls"))):
            yield self._call(call, f"{self._where}.tool_calls[{number}]")

    def _call(self, call: Mapping[str, Any], where: str) -> Call:
        function = call.get("function")
        if not isinstance(function, dict):
            raise ProviderRejected(f"{where}: a call has a function.")
        name, call_id = self._text(function.get("name"), where), self._text(call.get("id"), where)
        return Call(call_id, name, _object(function.get("arguments"), where), _opaque(call) | _opaque(function))

    def _text(self, value: object, where: str) -> str:
        if not isinstance(value, str):
            raise ProviderRejected(f"{where}: a text is missing.")
        return value


def _object(arguments: object, where: str) -> Mapping[str, Any]:
    if arguments in (None, ""):
        return {}
    try:
        value = orjson.loads(arguments) if isinstance(arguments, str) else arguments
    except orjson.JSONDecodeError:
        value = None
    if not isinstance(value, dict):
        raise ProviderRejected(f"{where}: the arguments of a call are a JSON object.")
    return value


def _opaque(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a provider wants back, whether it is in `provider_data` or beside it as other clients have it."""
    given = fields.get("provider_data")
    data = dict(given) if isinstance(given, dict) else {}
    for name in ("extra_content", "signature", "thought_signature", "reasoning_items"):
        if fields.get(name):
            data.setdefault(name, fields[name])
    return data


def _list(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
