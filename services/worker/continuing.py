"""An answer that is taken up where it broke off: how the provider is asked, and what of its reply is new."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from services.worker.continuation import OverlapTrimmer, continuing_messages
from services.worker.provider import CompletionRequest, Provider
from shared.errors import ProviderRejected
from shared.events import Event

__all__ = ("Continuing", "is_continuable")

Part = Mapping[str, Any]


def is_continuable(parts: Sequence[Part]) -> bool:
    """Whether a log with these parts can be taken up, for all that a fence would keep of it.

    A tool call at its end may be half-written, so a fence keeps what stands before it.
    """
    kept = parts[:-1] if parts and parts[-1]["type"] == "tool_call" else parts
    return continuing_messages([], kept, "prefill") is not None


class Continuing:
    """One continuation of the message `parts`, which are continuable."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self._parts = parts
        self._trimmer: OverlapTrimmer | None = None

    def request_to(self, provider: Provider, request: CompletionRequest) -> CompletionRequest:
        """The request that asks this provider to go on. Raises `ProviderRejected` if it cannot be asked."""
        messages = continuing_messages(request.messages, self._parts, provider.settings.continuation)
        if messages is None:
            raise ProviderRejected
        # A prefilled answer goes on by itself; a model that was told to go on may begin with the last words again.
        told = provider.settings.continuation == "message"
        self._trimmer = OverlapTrimmer(str(self._parts[-1]["text"]).encode()) if told else None
        return replace(request, messages=messages)

    def trimmed(self, events: Sequence[Event]) -> Sequence[Event]:
        """The events without the beginning that repeats the end of what is kept."""
        fresh: list[Event] = []
        for event in events:
            if self._trimmer is None:
                fresh.append(event)
            elif event.kind == "text":
                fresh += _text(self._trimmer.feed(event.value))
            else:
                fresh += [*self.rest(), event]
        return fresh

    def rest(self) -> Sequence[Event]:
        """What was held back in case it is a repetition, now that nothing more can decide it."""
        trimmer, self._trimmer = self._trimmer, None
        return _text(trimmer.finish()) if trimmer is not None else ()


def _text(value: bytes) -> Sequence[Event]:
    return [Event("text", value, len(value))] if value else ()
