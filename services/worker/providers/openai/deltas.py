"""One delta of an answer, or a whole message, to events: texts, tool calls, and what comes beside them.

What is cut in two, or not sure yet, is held back until what follows decides it. `Deltas.is_holding` says so: until then
no shorter way may be taken past it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from services.worker.providers.openai.characters import Joint
from services.worker.providers.openai.content import Part, parts_of
from services.worker.providers.openai.provider_data import ProviderData
from services.worker.providers.openai.tools import ToolCalls
from shared.errors import ProviderMalformed
from shared.log.events import MAX_EVENT_BYTES, Event, annotation, delta, file_pieces, pieces

__all__ = ("KINDS", "Deltas", "citations")

# Names for reasoning first; vLLM sends two of them, with the same text.
KINDS: Final = {
    "reasoning_content": "reasoning",
    "reasoning": "reasoning",
    "reasoning_text": "reasoning",
    "content": "text",
    "refusal": "refusal",
}
# What else there is in a delta or a message, and is understood.
_UNDERSTOOD: Final = (
    frozenset(KINDS) | ProviderData.names | {"role", "tool_calls", "function_call", "annotations", "images", "name"}
)
_MOST_ANNOTATIONS: Final = 1024


class Deltas:
    """Reads the deltas of one answer. `unknown` counts what was not understood, by what it was."""

    def __init__(self) -> None:
        self.unknown: Counter[str] = Counter()
        self.has_said = False
        self._calls = ToolCalls(self._count)
        self._data = ProviderData(self._count)
        self._joint = Joint()
        self._kind = ""
        self._annotations: set[bytes] = set()
        self._files = 0

    @property
    def is_holding(self) -> bool:
        return self._joint.is_holding or self._calls.is_holding or self._data.ends_reasoning

    def take(self, fields: Mapping[str, Any], *, is_raw: bool = False) -> list[Event]:
        """The events of one delta, none larger than an event may be. Raises `ProviderMalformed` on a wrong shape.

        `is_raw`: see `Joint.join`.
        """
        said = {name: value for name, value in fields.items() if value and name != "role"}
        if not said:
            return []
        if len(said) == 1 and not is_raw and self._kind == "tool_call" and "tool_calls" in said:
            # Nearly every delta of a call: the long way would take twice the time.
            tail = self._calls.tail(said["tool_calls"])
            if tail is not None:
                return [tail] if tail.size <= MAX_EVENT_BYTES else list(pieces(tail))
        events = self._take_all(said, is_raw=is_raw)
        for event in events:
            if event.size > MAX_EVENT_BYTES:
                return [piece for event in events for piece in pieces(event)]
        return events

    def annotate(self, values: list[Any]) -> list[Event]:
        """Events of what a chunk says beside its deltas; some repeat it with each chunk."""
        return self._annotated(values)

    def rest(self) -> list[Event]:
        """Return what was held back, at the end of the answer."""
        events = self._rest_of_text() + self._calls.rest()
        if self._calls.late:
            late = [{"index": index, **data} for index, data in sorted(self._calls.late.items())]
            self._data.carry("tool_calls", late)
            self._calls.late = {}
        return [piece for event in [*events, *self._data.rest()] for piece in pieces(event)]

    def count_unknown(self, what: str) -> None:
        self._count(what)

    def _take_all(self, fields: Mapping[str, Any], *, is_raw: bool) -> list[Event]:
        events: list[Event] = []
        spoken = {part.kind for part in self._said(fields, events, is_raw=is_raw)}
        if not self._data.names.isdisjoint(fields):
            self._data.take(fields, is_shown="reasoning" in spoken)
        for each in _list(fields, "images"):
            events += self._before("file") + self._file(each)
        events += self._annotated(_list(fields, "annotations"))
        events += self._called(fields, is_raw=is_raw)
        for _ in fields.keys() - _UNDERSTOOD:
            self._count("delta_field")
        return events

    def _called(self, fields: Mapping[str, Any], *, is_raw: bool) -> list[Event]:
        calls = _calls_of(fields)
        return self._before("tool_call") + self._calls.take(calls, is_raw=is_raw) if calls else []

    def _said(self, fields: Mapping[str, Any], events: list[Event], *, is_raw: bool) -> list[Part]:
        """The texts of a delta. What they are goes into `events`."""
        found: dict[str, list[Part]] = {}
        for name, kind in KINDS.items():
            if name in fields:
                parts = list(parts_of(fields[name], kind))
                # Two names for the same reasoning.
                if parts and (kind == "text" or kind not in found):
                    found[kind] = parts
        ordered = [part for kind in ("reasoning", "text", "refusal") for part in found.get(kind, ())]
        for part in ordered:
            events += self._of_part(part, is_raw=is_raw)
        return ordered

    def _of_part(self, part: Part, *, is_raw: bool) -> list[Event]:
        match part:
            case Part("file", value):
                return self._before("file") + self._file(value)
            case Part("annotation", value):
                return self._annotated([value])
            case Part("data", value):
                self._data.take({"thinking_blocks": [value]}, is_shown=True)
                return []
            case Part("unknown", _):
                self._count("content_part")
                return []
        return self._text(part.kind, part.value, is_raw=is_raw)

    def _text(self, kind: str, text: str, *, is_raw: bool) -> list[Event]:
        events = self._before(kind)
        joined = self._joint.join(text, is_raw=is_raw)
        return [*events, delta(kind, joined)] if joined else events

    def _before(self, kind: str) -> list[Event]:
        """Return the events that have to come before something of this kind follows."""
        self.has_said = True
        events = self._rest_of_text() if kind != self._kind else []
        self._kind = kind
        if kind != "tool_call":
            events += self._calls.rest()
        if kind != "reasoning" and self._data.ends_reasoning:
            events += self._data.rest()
        return events

    def _rest_of_text(self) -> list[Event]:
        rest = self._joint.rest()
        return [delta(self._kind, rest)] if rest else []

    def _file(self, value: object) -> list[Event]:
        url, media_type = _address_of(value)
        if not url:
            self._count("file")
            return []
        index, self._files = self._files, self._files + 1
        return file_pieces(index, url, media_type)

    def _annotated(self, values: list[Any]) -> list[Event]:
        """The annotations among these that have not been told yet."""
        events: list[Event] = []
        for value in values:
            try:
                told = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
            except TypeError:
                self._count("annotation")
                continue
            if told in self._annotations:
                continue
            if len(told) > MAX_EVENT_BYTES or len(self._annotations) >= _MOST_ANNOTATIONS:
                self._count("annotation")
                continue
            self._annotations.add(told)
            events += [*self._before("annotation"), annotation(value)]
        return events

    def _count(self, what: str) -> None:
        self.unknown[what] += 1


def _calls_of(fields: Mapping[str, Any]) -> list[Any]:
    """The calls of a delta, among them the one that the oldest form of the API knows."""
    calls = fields.get("tool_calls") or []
    if isinstance(calls, dict):
        calls = [calls]
    if not isinstance(calls, list):
        raise ProviderMalformed
    older = fields.get("function_call")
    return [*calls, {"index": 0, "function": older}] if isinstance(older, dict) and older and not calls else calls


def _address_of(value: object) -> tuple[str, str]:
    """The URL of a file and its media type, in the forms that providers have for them."""
    if not isinstance(value, dict):
        return (value, "") if isinstance(value, str) else ("", "")
    inner = next((value[name] for name in ("image_url", "url", "source", "file", "image") if value.get(name)), None)
    if isinstance(inner, dict):
        return _address_of(inner)
    media_type = str(value.get("media_type") or value.get("mime_type") or value.get("mimeType") or "")
    data = next((value[name] for name in ("b64_json", "data", "file_data", "result") if value.get(name)), None)
    if isinstance(inner, str):
        named = inner[5:].partition(";")[0].partition(",")[0] if inner.startswith("data:") else ""
        return inner, media_type or named
    if isinstance(data, str):
        whole = data if data.startswith("data:") else f"data:{media_type or 'application/octet-stream'};base64,{data}"
        return whole, media_type
    return "", ""


def _list(fields: Mapping[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    return value if isinstance(value, list) else []


def citations(values: Sequence[Any]) -> list[Any]:
    """Sources that stand beside the answer (Perplexity), each in the form that annotations have."""
    found = [{"url": value} if isinstance(value, str) else value for value in values]
    return [{"type": "url_citation", "url_citation": value} for value in found if isinstance(value, dict)]
