"""Bytes of an answer in JSON frames to events: cutting, parsing, failing and ending, the same for several dialects.

Pure, no socket and no clock. What a frame means is an `Answer`'s to say.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, Protocol

import orjson

from services.worker.providers.frames.lines import MAX_LINE_BYTES, LineReader
from services.worker.providers.http.sse import SseReader
from services.worker.providers.provider import UNKNOWN_REASON, Outcome
from services.worker.providers.refusal import error_inside
from shared.errors import ProviderError, ProviderMalformed, ProviderTruncated
from shared.log.events import Event
from shared.log.events import usage as usage_event

__all__ = ("Answer", "JsonReader", "lines_of", "server_sent")

_DONE: Final = b"[DONE]"


class Answer(Protocol):
    """The meaning of the frames of one answer, in one dialect.

    `reason`: the answer is whole, and that is why. `is_over`: nothing follows. `usage` counts what is known so far.
    """

    @property
    def reason(self) -> str | None: ...

    @property
    def is_over(self) -> bool: ...

    @property
    def usage(self) -> dict[str, int] | None: ...

    @property
    def unknown(self) -> Mapping[str, int]: ...

    def take(self, frame: dict[str, Any]) -> Sequence[Event]:
        """The events of a frame. Raises the `ProviderError` that it is, or `ProviderMalformed`."""
        ...

    def rest(self) -> Sequence[Event]:
        """Return what was held back until now, at the end of the answer."""
        ...


class _Splitter(Protocol):
    def feed(self, data: bytes) -> list[bytes]: ...

    def finish(self) -> list[bytes]: ...


class JsonReader:
    """See `FrameReader`."""

    __slots__ = ("_answer", "_failure", "_is_told", "_splitter", "ended")

    def __init__(self, answer: Answer, splitter: _Splitter) -> None:
        self.ended = False
        self._answer = answer
        self._splitter = splitter
        self._failure: ProviderError | None = None
        self._is_told = False

    @property
    def is_whole(self) -> bool:
        return self._answer.reason is not None

    @property
    def is_going_on(self) -> bool:
        return not self.ended and self._answer.reason is None

    @property
    def usage(self) -> dict[str, int] | None:
        return self._answer.usage

    @property
    def outcome(self) -> Outcome:
        return Outcome(self._answer.reason or UNKNOWN_REASON, self._answer.usage)

    @property
    def unknown(self) -> Mapping[str, int]:
        return self._answer.unknown

    def feed(self, data: bytes) -> Sequence[Event]:
        if self._failure is not None:
            raise self._failure
        return self._read(self._splitter.feed(data))

    def finish(self) -> Sequence[Event]:
        if not self.ended and self._failure is None:
            events = self._read([each for each in self._splitter.finish() if _is_json(each)])
            if events:
                return events
        if not self.is_whole:
            raise self._failure or ProviderTruncated()
        self.ended = True
        return self._told_end()

    def _read(self, payloads: Sequence[bytes]) -> Sequence[Event]:
        events: list[Event] = []
        take = self._answer.take
        try:
            for payload in payloads:
                if self.ended:
                    break
                if type(payload) is bytes:
                    try:
                        frame = orjson.loads(payload)
                    except orjson.JSONDecodeError:
                        frame = None
                    if type(frame) is dict:
                        events += take(frame)
                        self.ended = self._answer.is_over
                        continue
                self._read_oddity(payload, events)
        except ProviderError as error:
            if not events:
                raise
            self._failure = error
        return events

    def _read_oddity(self, payload: bytes, events: list[Event]) -> None:
        """Read what is no plain object: the end marker, a named error, a list, a lone surrogate, nonsense."""
        if payload.startswith(_DONE):
            self.ended = True
            return
        if not payload.strip():
            return
        value = _parsed_leniently(payload)
        if type(payload) is not bytes:
            raise error_inside(value)
        for frame in value if isinstance(value, list) else [value]:
            if not isinstance(frame, dict):
                raise ProviderMalformed
            events += self._answer.take(frame)
        self.ended = self._answer.is_over

    def _told_end(self) -> Sequence[Event]:
        if self._is_told:
            return ()
        self._is_told = True
        usage = self._answer.usage
        return [*self._answer.rest(), *([usage_event(dict(usage))] if usage is not None else ())]


def server_sent(answer: Answer) -> JsonReader:
    """A reader of server-sent events; a body that is one JSON value is taken for one event."""
    return JsonReader(answer, SseReader(max_event_bytes=MAX_LINE_BYTES))


def lines_of(answer: Answer) -> JsonReader:
    """A reader of one JSON object a line."""
    return JsonReader(answer, LineReader())


def _parsed_leniently(payload: bytes) -> Any:
    """With `json`, which takes the escape of a lone surrogate. Bytes that are no UTF-8 become U+FFFD."""
    try:
        return json.loads(payload.decode(errors="replace"))
    except (ValueError, RecursionError):
        raise ProviderMalformed from None


def _is_json(payload: bytes) -> bool:
    try:
        _parsed_leniently(payload)
    except ProviderMalformed:
        return payload.startswith(_DONE)
    return True
