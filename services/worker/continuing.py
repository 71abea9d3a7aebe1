"""An answer that is taken up where it broke off: how the provider is asked, and what of its reply is new."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.worker.continuation import OverlapTrimmer, continued_messages
from services.worker.provider import CompletionRequest, Provider
from shared.events import Event, delta

__all__ = ("Continuing", "is_continuable")

Part = Mapping[str, Any]


def is_continuable(parts: Sequence[Part]) -> bool:
    """Whether an answer with these parts can be taken up: it ends in text, but for a tool call that is not complete.

    Nobody can be asked to go on with somebody else's reasoning, or after a tool call whose result is not known.
    """
    kept = parts[:-1] if parts and parts[-1]["type"] == "tool_call" else parts
    return bool(kept) and kept[-1]["type"] == "text"


class Continuing:
    """One continuation of the message `parts`, which end in text."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._trimmer: OverlapTrimmer | None = None

    def request_to(self, provider: Provider, request: CompletionRequest) -> CompletionRequest:
        """The request that asks this provider to go on."""
        if provider.settings.continuation == "message":
            self._trimmer = OverlapTrimmer(str(self._parts[-1]["text"]))
        messages = continued_messages(request.messages, self._parts, provider.settings.continuation)
        return replace(request, messages=messages)

    def trimmed(self, events: Sequence[Event]) -> Sequence[Event]:
        """The events without the beginning that repeats the end of what is kept."""
        if self._trimmer is None:
            return events
        fresh: list[Event] = []
        for event in events:
            if self._trimmer is None or event.kind != "text":
                fresh += [*self.rest(), event]
                continue
            text = self._trimmer.feed(event.value.decode())
            if text:
                fresh.append(delta("text", text))
            if self._trimmer.is_decided:
                self._trimmer = None
        return fresh

    def rest(self) -> Sequence[Event]:
        """What was held back in case it is a repetition, now that nothing more can decide it."""
        trimmer, self._trimmer = self._trimmer, None
        text = trimmer.flush() if trimmer is not None else ""
        return [delta("text", text)] if text else []
