"""Bytes of an OpenAI chat-completions stream to events: pure, no socket and no clock.

This is the hot path of a worker. The usual chunk, some text and nothing else, is recognised first; everything
else takes the long way, which alone decides what is right.
"""

import json
import re
from typing import Any, Final, TypeVar

import orjson

from services.worker.providers.http.sse import ErrorData, SseReader
from services.worker.providers.openai.errors import error_of_object
from services.worker.providers.openai.template import Template
from services.worker.providers.openai.tools import ToolCalls
from services.worker.providers.provider import UNKNOWN_REASON, Outcome
from shared.errors import ProviderError, ProviderFailed, ProviderMalformed, ProviderTruncated
from shared.log.events import MAX_EVENT_BYTES, Event, delta, pieces
from shared.log.events import usage as usage_event

__all__ = ("MAX_LINE_BYTES", "ChunkReader", "counted", "field_of")

# Some providers send a whole answer, or a whole tool call, as one chunk.
MAX_LINE_BYTES: Final = 16 * 1024 * 1024

# Two names for reasoning; vLLM sends both, with the same text.
_KINDS: Final = {"reasoning_content": "reasoning", "reasoning": "reasoning", "content": "text", "refusal": "refusal"}
_REASON = re.compile(r"[a-z][a-z0-9_]{0,63}")
_MAX_TOKENS: Final = 2**53 - 1

# A lesson costs 5 µs, what three cuts save: a few are free, each other one has to be earned.
_LESSONS: Final = 8
_CHUNKS_A_LESSON: Final = 8

T = TypeVar("T")


class ChunkReader:
    """Reads one answer. `ended` is the provider's `[DONE]`; what follows it is not looked at.

    `finish_reason` closes the content: deltas after it are ignored, a usage chunk is taken. Lone surrogates become
    U+FFFD; a pair cut in two by the provider becomes two, because mending it would mean holding text back.
    """

    __slots__ = (
        "_calls",
        "_failure",
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

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self.ended = False
        self.finish_reason: str | None = None
        self.usage: dict[str, int] | None = None
        self._sse = SseReader(max_event_bytes=max_line_bytes)
        self._calls = ToolCalls()
        self._failure: ProviderError | None = None
        self._usage_told = False
        self._max_bytes = max_line_bytes
        # None as well when no content may follow.
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
        self._usual = self._template if self._sse.is_between_events else None
        return events

    def finish(self) -> list[Event]:
        """The last event, if one is due, after `[DONE]` or the end of the bytes; raises `ProviderTruncated`.

        Without `[DONE]`, or with a failure in its place, a finish reason is proof enough that the answer is whole.
        """
        if not self.ended and self.finish_reason is None:
            raise self._failure or ProviderTruncated()
        self.ended = True
        return self._told_usage()

    @property
    def is_going_on(self) -> bool:
        """Whether content may follow."""
        return self.finish_reason is None and not self.ended

    @property
    def outcome(self) -> Outcome:
        return Outcome(self.finish_reason or UNKNOWN_REASON, self.usage)

    def _learn(self, payload: bytes, event: Event) -> None:
        """What the next chunks will look like. Given up where each chunk differs in something else too."""
        if self._learned > _LESSONS + self._saved // _CHUNKS_A_LESSON:
            return
        self._learned += 1
        self._template = Template.of(payload, event, _only_delta, max_bytes=self._max_bytes) or self._template

    def _read(self, payload: bytes, events: list[Event]) -> None:
        if self._template is not None and self.finish_reason is None:
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
        event = _only_delta(chunk) if self.finish_reason is None else None
        if event is None:
            self._take(chunk, events)
            return
        self._learn(payload, event)
        events += (event,) if event.size <= MAX_EVENT_BYTES else pieces(event)

    def _read_oddity(self, payload: bytes, events: list[Event]) -> None:
        """What orjson refuses: the end marker, an empty event, a subclass of bytes, a lone surrogate, nonsense."""
        if payload.startswith(b"[DONE]"):
            self.ended = True
            events += self._told_usage()
        elif isinstance(payload, ErrorData):
            raise _error_of_data(_parsed_leniently(payload))
        elif payload.strip():
            self._take(_parsed_leniently(payload), events)

    def _take(self, chunk: object, events: list[Event]) -> None:
        if not isinstance(chunk, dict):
            raise ProviderMalformed
        if chunk.get("error"):
            raise error_of_object(chunk["error"])
        usage = field_of(chunk, "usage", dict)
        if usage:
            self.usage = counted(usage)
        for choice in field_of(chunk, "choices", list) or ():
            self._take_choice(choice, events)

    def _take_choice(self, choice: object, events: list[Event]) -> None:
        if not isinstance(choice, dict):
            raise ProviderMalformed
        # Asked for one answer; a provider that sends others with it gets only the first one heard.
        if field_of(choice, "index", int) or self.finish_reason is not None:
            return
        if choice.get("error"):
            raise error_of_object(choice["error"])
        for event in self._deltas(field_of(choice, "delta", dict) or {}):
            events += pieces(event)
        self._take_reason(field_of(choice, "finish_reason", str))

    def _deltas(self, fields: dict[str, Any]) -> list[Event]:
        texts = {kind: text for name, kind in _KINDS.items() if (text := field_of(fields, name, str))}
        events = [delta(kind, text) for kind, text in texts.items()]
        for call in field_of(fields, "tool_calls", list) or ():
            events += self._calls.take(call)
        return events

    def _take_reason(self, reason: str | None) -> None:
        # Some send an empty reason with every chunk.
        if not reason:
            return
        if reason == "error":
            raise ProviderFailed
        reason = reason.lower()
        self.finish_reason = reason if _REASON.fullmatch(reason) else UNKNOWN_REASON

    def _told_usage(self) -> list[Event]:
        if self.usage is None or self._usage_told:
            return []
        self._usage_told = True
        return [usage_event(self.usage)]


def counted(usage: dict[str, Any]) -> dict[str, int]:
    """Token counts under our names. What is no sensible number is left out rather than the answer lost."""
    read, written = _count(usage, "prompt_tokens") or 0, _count(usage, "completion_tokens") or 0
    total = _count(usage, "total_tokens")
    counts = {
        "input_tokens": read,
        "output_tokens": written,
        "total_tokens": read + written if total is None else total,
    }
    details = {
        "reasoning_tokens": _count(usage.get("completion_tokens_details"), "reasoning_tokens"),
        "cached_tokens": _count(usage.get("prompt_tokens_details"), "cached_tokens"),
    }
    return counts | {name: count for name, count in details.items() if count is not None}


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
        ((name, text),) = choice["delta"].items()
        plain = (
            type(text) is str
            and choice["index"] == 0
            and choice.get("finish_reason") is None
            and chunk.get("usage") is None
            and "error" not in chunk
            and "error" not in choice
        )
        return delta(_KINDS[name], text) if plain and text else None
    except (KeyError, TypeError, ValueError, AttributeError):
        return None


def _parsed_leniently(payload: bytes) -> Any:
    """With `json`, which takes the escape of a lone surrogate: models produce it when a pair is cut in two."""
    try:
        return json.loads(payload.decode())
    except (ValueError, RecursionError):
        raise ProviderMalformed from None


def _error_of_data(value: object) -> ProviderError:
    """The error behind an event named `error`: an error object, alone or under the usual name."""
    inner = value.get("error") if isinstance(value, dict) else None
    return error_of_object(inner or value)


def _count(fields: object, name: str) -> int | None:
    value = fields.get(name) if isinstance(fields, dict) else None
    return value if type(value) is int and 0 <= value <= _MAX_TOKENS else None
