"""Bytes of an OpenAI chat-completions stream to events: pure, no socket and no clock.

This is the hot path of a worker. The usual chunk, some text and nothing else, is recognised first; everything
else takes the long way, which alone decides what is right.
"""

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Final, TypeVar

import orjson

from services.worker.providers.http.sse import ErrorData, SseReader
from services.worker.providers.openai.deltas import KINDS, Deltas, citations
from services.worker.providers.openai.errors import error_in, error_of_object
from services.worker.providers.openai.template import Template
from services.worker.providers.openai.undeclared import UndeclaredBody
from services.worker.providers.openai.usage import counted, merged, usages_in
from services.worker.providers.provider import UNKNOWN_REASON, Outcome
from shared.errors import ProviderError, ProviderFailed, ProviderMalformed, ProviderTruncated
from shared.log.events import MAX_EVENT_BYTES, Event, delta, pieces
from shared.log.events import usage as usage_event

__all__ = ("MAX_LINE_BYTES", "ChunkReader", "field_of")

# Some providers send a whole answer, or a whole tool call, as one chunk.
MAX_LINE_BYTES: Final = 16 * 1024 * 1024

_REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")
# Reasons that are none: the answer broke off, and it is worth another try.
_BROKEN_OFF: Final = re.compile(
    r"error|.*_error|abort(ed)?|interrupted|failed|timeout|insufficient_system_resource|engine_.*|malformed_.*|.*malformed.*_call"
)
# Members of a chunk or a choice that say more than its delta does.
_SOURCES: Final = ("search_results", "citations")
_TELLING: Final = frozenset({"error", "x_groq", "base_resp", "message", "type", *_SOURCES})

# A lesson costs 5 µs, what three cuts save: a few are free, each other one has to be earned.
_LESSONS: Final = 8
_CHUNKS_A_LESSON: Final = 8

T = TypeVar("T")


class ChunkReader:
    """Reads one answer. `ended` is the provider's `[DONE]`; what follows it is not looked at.

    A finish reason does not close the content: some send it with every chunk. Characters that are cut in two by the
    provider are joined; half a character whose other half never comes becomes U+FFFD.
    """

    __slots__ = (
        "_deltas",
        "_failure",
        "_is_holding",
        "_learned",
        "_max_bytes",
        "_saved",
        "_sse",
        "_template",
        "_usage_told",
        "_usual",
        "ended",
        "finish_reason",
        "usage",
    )

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES, is_declared: bool = True) -> None:
        """`is_declared`: the response says that it is an event stream."""
        self.ended = False
        self.finish_reason: str | None = None
        self.usage: dict[str, int] | None = None
        reader = SseReader if is_declared else UndeclaredBody
        self._sse: SseReader | UndeclaredBody = reader(max_event_bytes=max_line_bytes)
        self._deltas = Deltas()
        self._failure: ProviderError | None = None
        self._usage_told = False
        self._max_bytes = max_line_bytes
        # Whether something waits for what follows, so that no chunk may be taken for a usual one.
        self._is_holding = False
        # None as well when no content is expected.
        self._template: Template | None = None
        # The same, as long as what comes next begins an event.
        self._usual: Template | None = None
        self._learned = self._saved = 0

    def feed(self, data: bytes) -> list[Event]:
        """The events in `data`. Raises `ProviderError`, but returns what came before the error first."""
        if self._usual is not None:
            event = self._usual.event_of(data)
            if event is not None:
                self._saved += 1
                return [event]
        if self._failure is not None:
            raise self._failure
        events: list[Event] = []
        try:
            for payload in self._sse.feed(data):
                if self.ended:
                    break
                self._read(payload, events)
        except ProviderError as error:
            self._usual = None
            if not events:
                raise
            self._failure = error
        if self._failure is not None or not self.is_going_on:
            self._template = None
        self._usual = self._template if self._sse.is_between_events and not self._is_holding else None
        return events

    def finish(self) -> list[Event]:
        """Return the remaining events after `[DONE]` or the end of the bytes, and none when called again.

        Without `[DONE]`, or with a failure in its place, a finish reason is proof enough that the answer is whole.
        Raises `ProviderTruncated` if it is not, or the error that the last bytes are.
        """
        events: list[Event] = []
        if not self.ended and self._failure is None:
            self._read_last(events)
        if events:
            return events
        if self.finish_reason is None and not (self.ended and self._has_said):
            raise self._failure or (ProviderMalformed() if self._sse.is_document else ProviderTruncated())
        self.ended = True
        return self._told_end()

    @property
    def is_whole(self) -> bool:
        """Return whether a finish reason came, and no error took it back."""
        return self.finish_reason is not None

    @property
    def is_going_on(self) -> bool:
        """Return whether content is expected."""
        return self.finish_reason is None and not self.ended

    @property
    def outcome(self) -> Outcome:
        return Outcome(self.finish_reason or UNKNOWN_REASON, self.usage)

    @property
    def unknown(self) -> Mapping[str, int]:
        """The number of things that were not understood, by kind."""
        return self._deltas.unknown

    @property
    def _has_said(self) -> bool:
        return bool(self._learned) or self._deltas.has_said

    def _learn(self, payload: bytes, event: Event) -> None:
        """Learn the look of the next chunks. Given up where each chunk differs in something else too."""
        if self._learned > _LESSONS + self._saved // _CHUNKS_A_LESSON:
            return
        self._learned += 1
        self._template = Template.of(payload, event, _only_delta, max_bytes=self._max_bytes) or self._template

    def _read(self, payload: bytes, events: list[Event]) -> None:
        is_usual = self.finish_reason is None and not self._is_holding
        if is_usual and self._template is not None:
            # Several chunks came at once. What is known already need not be learnt again.
            known = self._template.event_of(b"data: %b\n\n" % payload) if type(payload) is bytes else None
            if known is not None:
                self._saved += 1
                events.append(known)
                return
        try:
            chunk = orjson.loads(payload)
        except orjson.JSONDecodeError:
            self._read_oddity(payload, events)
            return
        event = _only_delta(chunk) if is_usual else None
        if event is None:
            self._take(chunk, events)
            return
        self._learn(payload, event)
        events += (event,) if event.size <= MAX_EVENT_BYTES else pieces(event)

    def _read_oddity(self, payload: bytes, events: list[Event]) -> None:
        """Read what orjson refuses.

        The end marker, an empty event, a subclass of bytes, a lone surrogate, bytes that are no UTF-8, and nonsense.
        """
        if payload.startswith(b"[DONE]"):
            self.ended = True
            events += self._told_end()
        elif isinstance(payload, ErrorData):
            error = _parsed_leniently(payload)[0] if _is_json(payload) else None
            inner = error_in(error)
            raise self._broken_off(error_of_object(error if inner is None else inner))
        elif payload.strip():
            chunk, is_raw = _parsed_leniently(payload)
            self._take(chunk, events, is_raw=is_raw)

    def _read_last(self, events: list[Event]) -> None:
        """Read an event that no empty line ended. It may be cut anywhere, and is ignored then."""
        try:
            for payload in self._sse.finish():
                if not self.ended and (payload.startswith(b"[DONE]") or _is_json(payload)):
                    self._read(payload, events)
        except ProviderError as error:
            if not events and self.finish_reason is None:
                raise
            self._failure = error

    def _take(self, chunk: object, events: list[Event], *, is_raw: bool = False) -> None:
        if not isinstance(chunk, dict) or _is_telling(chunk):
            self._take_beside(chunk, events)
        if not isinstance(chunk, dict):
            raise ProviderMalformed
        for choice in field_of(chunk, "choices", list) or ():
            self._take_choice(choice, events, is_raw=is_raw)
        for name in _SOURCES:
            if isinstance(chunk.get(name), list):
                events += self._deltas.annotate(citations(chunk[name]))
        self._is_holding = self._deltas.is_holding

    def _take_beside(self, chunk: object, events: list[Event]) -> None:
        """Take what a chunk holds beside its choices. Raises the error, if it is one."""
        if isinstance(chunk, dict):
            self._take_usage(chunk)
        error = error_in(chunk)
        if error is not None:
            with suppress(ProviderMalformed):  # the error is what matters
                self._take_last_words(chunk, events)
            raise self._broken_off(error_of_object(error))
        if isinstance(chunk, dict) and chunk.get("choices") is None and self.usage is None:
            self._deltas.count_unknown("chunk")

    def _take_last_words(self, chunk: object, events: list[Event]) -> None:
        """Take what the chunk of an error says beside it."""
        choices = chunk.get("choices") if isinstance(chunk, dict) else None
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict) and not choice.get("index"):
                events += self._deltas.take(field_of(choice, "delta", dict) or {})

    def _take_choice(self, choice: object, events: list[Event], *, is_raw: bool) -> None:
        if not isinstance(choice, dict):
            raise ProviderMalformed
        # Asked for one answer; a provider that sends others with it gets only the first one heard.
        if field_of(choice, "index", int):
            return
        if choice.get("usage"):
            self._take_usage({"choices": [choice]})
        fields = field_of(choice, "delta", dict)
        if fields is None and not self._has_said:
            # Not a delta but the whole message: so answers who does not stream.
            fields = field_of(choice, "message", dict)
        events += self._deltas.take(fields or {}, is_raw=is_raw)
        if choice.get("error"):
            raise self._broken_off(error_of_object(choice["error"]))
        self._take_reason(field_of(choice, "finish_reason", str))

    def _take_reason(self, reason: str | None) -> None:
        # Some send an empty reason with every chunk.
        if not reason:
            return
        reason = reason.lower()
        if _BROKEN_OFF.fullmatch(reason):
            raise self._broken_off(ProviderFailed())
        self.finish_reason = reason if _REASON.fullmatch(reason) else UNKNOWN_REASON

    def _take_usage(self, chunk: dict[str, Any]) -> None:
        for usage in usages_in(chunk):
            if usage is None:
                continue
            counts = counted(usage)
            if counts is not None:
                self.usage = merged(self.usage, counts)
            elif not isinstance(usage, dict):
                self._deltas.count_unknown("usage")

    def _broken_off(self, error: ProviderError) -> ProviderError:
        """The provider says itself that the answer is not whole, whatever it said before."""
        self.finish_reason = None
        return error

    def _told_end(self) -> list[Event]:
        events = self._deltas.rest()
        self._is_holding = False
        if self.usage is not None and not self._usage_told:
            self._usage_told = True
            events.append(usage_event(self.usage))
        return events


def field_of(fields: dict[str, Any], name: str, kind: type[T]) -> T | None:
    """A field of exactly this type (`True` is no index), or `None`; raises `ProviderMalformed`."""
    value = fields.get(name)
    if value is None or type(value) is kind:
        return value
    raise ProviderMalformed


def _only_delta(chunk: Any) -> Event | None:
    """The delta of a chunk that is sure to hold nothing else of interest."""
    try:
        (choice,) = chunk["choices"]
        fields = choice["delta"]
        # Many say again whose the text is, and what they do not say.
        ((name, text),) = fields.items() if len(fields) == 1 else _said(fields)
        plain = (
            type(text) is str
            and choice["index"] == 0
            and choice.get("finish_reason") is None
            and chunk.get("usage") is None
            and choice.get("usage") is None
            and _TELLING.isdisjoint(chunk)
            and "error" not in choice
        )
        return delta(KINDS[name], text) if plain and text else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _said(fields: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in fields.items() if value and name != "role"]


def _is_telling(chunk: dict[str, Any]) -> bool:
    """Return whether there may be more in a chunk than its choices."""
    plain = _TELLING.isdisjoint(chunk) and chunk.get("usage") is None and chunk.get("choices") is not None
    return not plain or chunk.get("object") == "error"


def _parsed_leniently(payload: bytes) -> tuple[Any, bool]:
    """With `json`, which takes the escape of a lone surrogate: models produce it when a pair is cut in two.

    Bytes that are no UTF-8 come through as `surrogateescape` has them; the second value says whether there are any.
    """
    text = payload.decode(errors="surrogateescape")
    try:
        return json.loads(text), not _is_utf8(payload)
    except (ValueError, RecursionError):
        raise ProviderMalformed from None


def _is_utf8(payload: bytes) -> bool:
    try:
        payload.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_json(payload: bytes) -> bool:
    try:
        json.loads(payload.decode(errors="surrogateescape"))
    except (ValueError, RecursionError):
        return False
    return True
