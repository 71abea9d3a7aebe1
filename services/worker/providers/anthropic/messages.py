"""Frames of Anthropic's Messages API to events."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.worker.providers.anthropic.usage import counts_of
from services.worker.providers.frames.telling import Telling, dumped
from services.worker.providers.provider import UNKNOWN_REASON
from services.worker.providers.refusal import error_inside
from shared.errors import ProviderMalformed
from shared.log.events import MAX_EVENT_BYTES, Event, delta

__all__ = ("MessageAnswer",)

_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "compaction": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "pause_turn": "pause_turn",
}
# Tools that the provider runs itself, and what came of them: nothing for a reader, and no call to answer.
_ITS_OWN: Final = frozenset({"server_tool_use", "mcp_tool_use", "compaction", "fallback"})
_SILENT: Final = frozenset({"ping", "content_block_stop"})


class MessageAnswer:
    """See `Answer`. Blocks of other kinds are counted by their index, too, so a call knows its number by its block."""

    __slots__ = ("_calls", "_told", "_usage", "is_over", "reason", "usage")

    def __init__(self) -> None:
        self.reason: str | None = None
        self.is_over = False
        self.usage: dict[str, int] | None = None
        self._usage: dict[str, Any] = {}
        self._told = Telling()
        # The number of the call in the block of this index.
        self._calls: dict[object, int] = {}

    @property
    def unknown(self) -> Mapping[str, int]:
        return self._told.unknown

    def take(self, frame: dict[str, Any]) -> Sequence[Event]:
        kind = frame.get("type")
        if kind == "content_block_delta":
            return self._delta(frame)
        if kind in _SILENT:
            return ()
        match kind:
            case "content_block_start":
                return self._begun(frame.get("index"), _object(frame, "content_block"))
            case "message_start":
                return self._message(_object(frame, "message"))
            case "message_delta":
                self._end(_object(frame, "delta"), frame.get("usage"))
            case "message_stop":
                # A proxy that forgets the reason has said that it is the end.
                self.reason = self.reason or UNKNOWN_REASON
                self.is_over = True
            case "message":
                events = self._message(frame)
                self._end(frame, None)
                return events
            case "error":
                self.reason = None
                raise error_inside(frame)
            case _ if frame.get("error"):
                raise error_inside(frame["error"])
            case _:
                self._told.count("chunk")
        return ()

    def rest(self) -> Sequence[Event]:
        return ()

    def _delta(self, frame: dict[str, Any]) -> Sequence[Event]:
        fields = frame.get("delta")
        if type(fields) is not dict:
            raise ProviderMalformed
        kind = fields.get("type")
        if kind == "text_delta":
            text = fields.get("text")
            if type(text) is str and text:
                event = delta("text", text)
                if event.size <= MAX_EVENT_BYTES:
                    return (event,)
            return self._told.say("text", text)
        match kind:
            case "thinking_delta":
                return self._told.say("reasoning", fields.get("thinking"))
            case "input_json_delta":
                number = self._calls.get(frame.get("index"))
                return () if number is None else self._told.go_on(number, fields.get("partial_json"))
            case "signature_delta":
                return self._signed(fields)
            case "citations_delta":
                return self._told.annotate(fields.get("citation"))
            case "compaction_delta":
                return ()
        self._told.count("delta_field")
        return ()

    def _message(self, message: dict[str, Any]) -> Sequence[Event]:
        """The beginning of a message, or all of it."""
        self._count(message.get("usage"))
        events: list[Event] = []
        blocks = message.get("content")
        for number, block in enumerate(blocks if isinstance(blocks, list) else ()):
            if not isinstance(block, dict):
                raise ProviderMalformed
            events += self._begun(number, block)
        return events

    def _begun(self, index: object, block: dict[str, Any]) -> Sequence[Event]:
        """The events of a block that begins, with whatever it holds from the start."""
        kind = block.get("type")
        match kind:
            case "text":
                events = [*self._told.say("text", block.get("text"))]
                citations = block.get("citations")
                for each in citations if isinstance(citations, list) else ():
                    events += self._told.annotate(each)
                return events
            case "thinking":
                return [*self._told.say("reasoning", block.get("thinking")), *self._signed(block)]
            case "redacted_thinking":
                return self._told.sign({"type": kind, "data": block.get("data")})
            case "tool_use":
                self._calls[index] = self._told.calls
                given = block.get("input")
                arguments = dumped(given) if given else ""
                return self._told.open(block.get("id"), block.get("name"), arguments)
        if not (kind in _ITS_OWN or (isinstance(kind, str) and kind.endswith("_tool_result"))):
            self._told.count("content_part")
        return ()

    def _signed(self, fields: Mapping[str, Any]) -> Sequence[Event]:
        signature = fields.get("signature")
        if not isinstance(signature, str) or not signature:
            return ()
        return self._told.sign({"type": "thinking", "signature": signature})

    def _end(self, fields: Mapping[str, Any], usage: object) -> None:
        self._count(usage)
        reason = fields.get("stop_reason")
        if isinstance(reason, str) and reason:
            self.reason = _REASONS.get(reason, UNKNOWN_REASON)

    def _count(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._usage |= {name: value for name, value in usage.items() if value is not None}
            self.usage = counts_of(self._usage) or self.usage


def _object(frame: dict[str, Any], name: str) -> dict[str, Any]:
    value = frame.get(name)
    if type(value) is not dict:
        raise ProviderMalformed
    return value
