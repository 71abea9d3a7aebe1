"""Frames of OpenAI's Responses API to events."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.worker.providers.frames.counts import count_in, counted
from services.worker.providers.frames.telling import Telling, text_in
from services.worker.providers.provider import UNKNOWN_REASON
from services.worker.providers.refusal import error_inside
from shared.errors import ProviderError, ProviderFailed, ProviderMalformed
from shared.log.events import MAX_EVENT_BYTES, Event, delta

__all__ = ("ResponseAnswer",)

_TEXTS: Final = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_summary_text.delta": "reasoning",
}
_ARGUMENTS: Final = frozenset({"response.function_call_arguments.delta", "response.custom_tool_call_input.delta"})
_CALLS: Final = {"function_call": "arguments", "custom_tool_call": "input"}
_ENDS: Final = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled", "response.done"}
)
_REASONS: Final = {"max_output_tokens": "length", "max_tokens": "length", "content_filter": "content_filter"}
_BETWEEN_PARTS: Final = "\n\n"


class ResponseAnswer:
    """See `Answer`. What an item had no deltas for is taken from its end, and from the end of the response."""

    __slots__ = ("_calls", "_parts", "_said", "_told", "is_over", "reason", "usage")

    def __init__(self) -> None:
        self.reason: str | None = None
        self.is_over = False
        self.usage: dict[str, int] | None = None
        self._told = Telling()
        # The number of a call, and whether arguments of it came, by the index of its item.
        self._calls: dict[object, tuple[int, bool]] = {}
        # Items that said something, or are done.
        self._said: set[object] = set()
        # The latest part of the summary that said something.
        self._parts: tuple[object, object] | None = None

    @property
    def unknown(self) -> Mapping[str, int]:
        return self._told.unknown

    def take(self, frame: dict[str, Any]) -> Sequence[Event]:
        kind = frame.get("type")
        said = _TEXTS.get(kind) if type(kind) is str else None
        if said is not None:
            return self._text(said, frame)
        if type(kind) is not str:
            return self._untyped(frame)
        if kind in _ARGUMENTS:
            return self._arguments(frame)
        match kind:
            case "response.output_item.added":
                return self._added(frame.get("output_index"), _object(frame, "item"))
            case "response.output_item.done":
                return self._done(frame.get("output_index"), _object(frame, "item"))
            case "response.output_text.annotation.added":
                return self._told.annotate(frame.get("annotation"))
            case "error":
                self.reason = None
                raise error_inside(frame.get("error") or frame)
        if kind in _ENDS:
            return self._ended(_object(frame, "response"))
        if not (kind == "keepalive" or kind.startswith("response.")):
            self._told.count("chunk")
        return ()

    def rest(self) -> Sequence[Event]:
        return ()

    def _text(self, kind: str, frame: dict[str, Any]) -> Sequence[Event]:
        index, text = frame.get("output_index"), frame.get("delta")
        self._said.add(index)
        if kind == "text" and type(text) is str and text:
            event = delta("text", text)
            if event.size <= MAX_EVENT_BYTES:
                return (event,)
        if kind != "reasoning" or not text:
            return self._told.say(kind, text)
        # Parts of a summary are paragraphs.
        part = (index, frame.get("summary_index", frame.get("content_index")))
        is_next = self._parts is not None and self._parts != part and self._parts[0] == index
        self._parts = part
        return [*(self._told.say(kind, _BETWEEN_PARTS) if is_next else ()), *self._told.say(kind, text)]

    def _arguments(self, frame: dict[str, Any]) -> Sequence[Event]:
        index = frame.get("output_index")
        known = self._calls.get(index)
        if known is None:
            return ()
        number, has_said = known
        events = self._told.go_on(number, frame.get("delta"))
        if events and not has_said:
            self._calls[index] = number, True
        return events

    def _added(self, index: object, item: dict[str, Any]) -> Sequence[Event]:
        kind = item.get("type")
        if not isinstance(kind, str) or kind not in _CALLS or index in self._calls:
            return ()
        arguments = text_in(item, _CALLS[kind])
        self._calls[index] = self._told.calls, bool(arguments)
        return self._told.open(item.get("call_id") or item.get("id"), item.get("name"), arguments)

    def _done(self, index: object, item: dict[str, Any]) -> Sequence[Event]:
        """The end of an item: whatever of it was not told yet."""
        kind = item.get("type")
        if isinstance(kind, str) and kind in _CALLS:
            return self._done_call(index, item, _CALLS[kind])
        if kind == "reasoning":
            return self._done_reasoning(index, item)
        if kind == "image_generation_call" and item.get("result"):
            return self._told.file(f"image/{item.get('output_format') or 'png'}", item["result"])
        if kind != "message" or index in self._said:
            return ()
        self._said.add(index)
        return [event for part in _objects(item, "content") for event in self._part(part)]

    def _done_call(self, index: object, item: dict[str, Any], name: str) -> Sequence[Event]:
        events = list(self._added(index, item))
        number, has_said = self._calls[index]
        if not has_said:
            self._calls[index] = number, True
            events += self._told.go_on(number, item.get(name))
        return events

    def _done_reasoning(self, index: object, item: dict[str, Any]) -> Sequence[Event]:
        events: list[Event] = []
        if index not in self._said:
            texts = [text_in(part, "text") for name in ("summary", "content") for part in _objects(item, name)]
            events += self._told.say("reasoning", _BETWEEN_PARTS.join(filter(None, texts)))
        self._said.add(index)
        if item.get("encrypted_content"):
            kept = {name: item[name] for name in ("type", "id", "summary", "encrypted_content") if name in item}
            events += self._told.sign({"reasoning_items": [kept]})
        return events

    def _part(self, part: dict[str, Any]) -> Sequence[Event]:
        if part.get("type") == "refusal":
            return self._told.say("refusal", part.get("refusal"))
        annotations = [event for each in _objects(part, "annotations") for event in self._told.annotate(each)]
        return [*self._told.say("text", part.get("text")), *annotations]

    def _ended(self, response: dict[str, Any]) -> Sequence[Event]:
        """The end of the response, which holds all of it once more."""
        self._count(response.get("usage"))
        self.is_over = True
        status, details = response.get("status"), response.get("incomplete_details")
        if status in ("failed", "cancelled") or response.get("error"):
            raise _failure(response.get("error"))
        events: list[Event] = []
        if not self._said and not self._calls:
            # Nothing was streamed: a provider that cannot, or a proxy that does not hand it on.
            for index, item in enumerate(_objects(response, "output")):
                events += self._done(index, item)
        given = details.get("reason") if isinstance(details, dict) else None
        if status == "incomplete":
            self.reason = _REASONS.get(given, UNKNOWN_REASON) if isinstance(given, str) else UNKNOWN_REASON
        else:
            self.reason = "tool_calls" if self._calls else "stop"
        return events

    def _untyped(self, frame: dict[str, Any]) -> Sequence[Event]:
        """A frame without a type: an error, or the whole response of a provider that does not stream."""
        if frame.get("object") == "response":
            return self._ended(frame)
        if frame.get("error") or frame.get("detail") or frame.get("message"):
            raise error_inside(frame)
        self._told.count("chunk")
        return ()

    def _count(self, usage: object) -> None:
        if not isinstance(usage, dict):
            return
        self.usage = counted(
            input_tokens=count_in(usage, "input_tokens"),
            output_tokens=count_in(usage, "output_tokens"),
            total_tokens=count_in(usage, "total_tokens"),
            reasoning_tokens=count_in(usage, "output_tokens_details", "reasoning_tokens"),
            cached_tokens=count_in(usage, "input_tokens_details", "cached_tokens"),
        )


def _failure(error: object) -> ProviderError:
    return error_inside(error) if error else ProviderFailed()


def _object(frame: dict[str, Any], name: str) -> dict[str, Any]:
    value = frame.get(name)
    if type(value) is not dict:
        raise ProviderMalformed
    return value


def _objects(fields: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    value = fields.get(name)
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
