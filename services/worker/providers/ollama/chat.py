"""Lines of Ollama's chat to events."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from services.worker.providers.frames.counts import count_in, counted
from services.worker.providers.frames.telling import Telling, dumped
from services.worker.providers.provider import UNKNOWN_REASON
from services.worker.providers.refusal import error_inside
from shared.errors import ProviderFailed, ProviderMalformed
from shared.log.events import MAX_EVENT_BYTES, Event, delta

__all__ = ("ChatAnswer",)

_REASONS: Final = {"stop": "stop", "length": "length"}
# The model was loaded or thrown out, and said nothing.
_NO_ANSWERS: Final = frozenset({"load", "unload"})


class ChatAnswer:
    """See `Answer`. Calls come whole; their index may begin anew with each line."""

    __slots__ = ("_told", "is_over", "reason", "usage")

    def __init__(self) -> None:
        self.reason: str | None = None
        self.is_over = False
        self.usage: dict[str, int] | None = None
        self._told = Telling()

    @property
    def unknown(self) -> Mapping[str, int]:
        return self._told.unknown

    def take(self, frame: dict[str, Any]) -> Sequence[Event]:
        message = frame.get("message")
        if type(message) is dict:
            events = self._message(message)
        elif frame.get("error"):
            raise error_inside(frame["error"])
        elif type(frame.get("response")) is str:
            # `/api/generate`, behind a proxy.
            events = self._told.say("text", frame["response"])
        else:
            events = ()
            if not frame.get("done"):
                self._told.count("chunk")
        if frame.get("done"):
            self._end(frame)
        return events

    def rest(self) -> Sequence[Event]:
        return ()

    def _message(self, message: dict[str, Any]) -> Sequence[Event]:
        text, thought, calls = message.get("content"), message.get("thinking"), message.get("tool_calls")
        if text and not thought and not calls and type(text) is str:
            event = delta("text", text)
            if event.size <= MAX_EVENT_BYTES:
                return (event,)
        events = [*self._told.say("reasoning", thought), *self._told.say("text", text)]
        for call in calls if isinstance(calls, list) else ():
            function = call.get("function") if isinstance(call, dict) else None
            if type(function) is not dict:
                raise ProviderMalformed
            events += self._told.open(call.get("id"), function.get("name"), dumped(function.get("arguments")))
        return events

    def _end(self, frame: dict[str, Any]) -> None:
        reason = frame.get("done_reason")
        self.usage = counted(
            input_tokens=count_in(frame, "prompt_eval_count"), output_tokens=count_in(frame, "eval_count")
        )
        if reason in _NO_ANSWERS:
            raise ProviderFailed
        named = _REASONS.get(reason, UNKNOWN_REASON) if isinstance(reason, str) and reason else "stop"
        self.reason = "tool_calls" if named == "stop" and self._told.calls else named
        self.is_over = True
