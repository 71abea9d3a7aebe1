"""The events of one answer, made by those who read frames: none empty, none too large, calls numbered as they open."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from services.worker.providers.frames.opaque import carried
from shared.errors import ProviderMalformed
from shared.log.events import (
    MAX_EVENT_BYTES,
    Event,
    annotation,
    delta,
    file_pieces,
    pieces,
    reasoning_end,
    tool_call,
)

__all__ = ("Telling", "dumped", "text_in")

_MAX_TOOL_CALLS: Final = 1024
_MAX_NAME_CHARS: Final = 1024
_MOST_ANNOTATIONS: Final = 1024


class Telling:
    """All that has been told of one answer. `unknown` counts what was not understood, by what it was."""

    __slots__ = ("_annotations", "_files", "calls", "unknown")

    def __init__(self) -> None:
        self.unknown: Counter[str] = Counter()
        self.calls = 0
        self._annotations: set[bytes] = set()
        self._files = 0

    def say(self, kind: str, text: object) -> Sequence[Event]:
        """A delta of text, reasoning or refusal. Raises `ProviderMalformed` if it is no text."""
        if not text:
            return ()
        if type(text) is not str:
            raise ProviderMalformed
        event = delta(kind, text)
        return (event,) if event.size <= MAX_EVENT_BYTES else pieces(event)

    def open(
        self, call_id: object, name: object, arguments: str = "", *, data: Mapping[str, Any] | None = None
    ) -> Sequence[Event]:
        """The opening of the next call, with what is known of its arguments."""
        index = self.calls
        if index >= _MAX_TOOL_CALLS:
            raise ProviderMalformed
        self.calls += 1
        known = carried(data, self.count) if data else None
        opened = tool_call(
            index, "", call_id=_named(call_id) or f"call_{index}", name=_named(name), provider_data=known
        )
        return (opened, *self.go_on(index, arguments))

    def go_on(self, index: int, arguments: object) -> Sequence[Event]:
        """The next piece of the arguments of a call."""
        if not arguments:
            return ()
        if type(arguments) is not str:
            raise ProviderMalformed
        event = tool_call(index, arguments)
        return (event,) if event.size <= MAX_EVENT_BYTES else pieces(event)

    def sign(self, data: Mapping[str, Any]) -> Sequence[Event]:
        """The end of a run of reasoning, with what its provider wants back."""
        known = carried(data, self.count)
        return (reasoning_end(known),) if known else ()

    def annotate(self, value: object) -> Sequence[Event]:
        """A remark of the provider, once."""
        try:
            told = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        except TypeError:
            self.count("annotation")
            return ()
        if told in self._annotations:
            return ()
        if len(told) > MAX_EVENT_BYTES or len(self._annotations) >= _MOST_ANNOTATIONS:
            self.count("annotation")
            return ()
        self._annotations.add(told)
        return (annotation(value),)

    def file(self, media_type: object, data: object) -> Sequence[Event]:
        """A file whose content came as base64."""
        if not (isinstance(media_type, str) and isinstance(data, str) and data):
            self.count("file")
            return ()
        index, self._files = self._files, self._files + 1
        return file_pieces(index, f"data:{media_type};base64,{data}", media_type)

    def count(self, what: str) -> None:
        self.unknown[what] += 1


def dumped(value: object) -> str:
    """The arguments of a call that came as an object: as text; none at all are an empty object."""
    if isinstance(value, str):
        return value
    try:
        return orjson.dumps({} if value is None else value).decode()
    except TypeError:
        raise ProviderMalformed from None


def text_in(fields: Mapping[str, Any], name: str) -> str:
    """The text of this name; an empty one for none. Raises `ProviderMalformed` if it is something else."""
    value = fields.get(name)
    if value is None:
        return ""
    if type(value) is not str:
        raise ProviderMalformed
    return value


def _named(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, str) or len(value) > _MAX_NAME_CHARS:
        raise ProviderMalformed
    return value
