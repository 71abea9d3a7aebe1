"""Going on with an answer that was handover: what to ask for, and how to join what comes.

Pure. Whether an answer can be continued at all is decided here; where to cut it was decided when it was written (the
safe offset of `append`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

from services.worker.providers.provider import CompletionRequest, Provider
from shared.errors import ProviderRejected
from shared.log.events import Event

__all__ = (
    "MAX_OVERLAP_BYTES",
    "MIN_OVERLAP_BYTES",
    "Capability",
    "Continuing",
    "OverlapTrimmer",
    "continuing_messages",
    "is_continuable",
)

Capability = Literal["prefill", "message", "none"]

# A model that is told to go on repeats at most a sentence or two.
MAX_OVERLAP_BYTES: Final = 512
# Shorter repetitions are left alone: "ha" after "ha", or a space after a space, is what the model meant.
MIN_OVERLAP_BYTES: Final = 12

_GO_ON: Final = (
    "Your last message was cut off. Continue it exactly where it stops, in the middle of a word if need be. "
    "Repeat nothing, add no introduction and do not mention the interruption."
)


def continuing_messages(
    messages: Sequence[Mapping[str, Any]], parts: Sequence[Mapping[str, Any]], capability: Capability
) -> list[Mapping[str, Any]] | None:
    """The messages whose answer follows `parts` (`{"type", "text"}`, as in `reset`); `None`: start over instead.

    Only text can be taken up again: providers do not accept reasoning back, and after a tool call comes its result.
    """
    text = _text_to_continue(parts)
    if not text or capability == "none":
        return None
    continued = [*messages, {"role": "assistant", "content": text}]
    if capability == "prefill":
        return continued
    return [*continued, {"role": "user", "content": _GO_ON}]


def _text_to_continue(parts: Sequence[Mapping[str, Any]]) -> str:
    """All text so far, if text is what the answer ends with; reasoning before it does no harm."""
    said = [part for part in parts if part.get("text") or part["type"] == "tool_call"]
    if not said or said[-1]["type"] != "text" or not {part["type"] for part in said} <= {"text", "reasoning"}:
        return ""
    return "".join(part["text"] for part in said if part["type"] == "text")


class OverlapTrimmer:
    """Drops the beginning of the new text when it repeats the end of the old. Both are UTF-8; seams are at characters.

    Of several possible overlaps the longest is taken; one shorter than `min_bytes` is none. Text is held back only
    while a longer overlap is still possible, so at most `max_bytes`, and usually the first delta decides.
    """

    def __init__(self, old: bytes, *, min_bytes: int = MIN_OVERLAP_BYTES, max_bytes: int = MAX_OVERLAP_BYTES) -> None:
        self._old = old[-max_bytes:]
        self._min_bytes = min_bytes
        self._held = b""
        self._decided = len(self._old) < min_bytes

    @property
    def held_bytes(self) -> int:
        return len(self._held)

    def feed(self, new: bytes) -> bytes:
        """What of the new text is certain to be new; may be empty."""
        if self._decided:
            return new
        self._held += new
        return b"" if self._may_grow() else self.finish()

    def finish(self) -> bytes:
        """The rest, at the end of the new text or of a run of it."""
        self._decided = True
        held, self._held = self._held, b""
        return held[self._overlap(held) :]

    def _may_grow(self) -> bool:
        """Whether what is held occurs in the old text with more of that after it."""
        place = self._old.find(self._held)
        return 0 <= place < len(self._old) - len(self._held)

    def _overlap(self, held: bytes) -> int:
        longest = min(len(held), len(self._old))
        return next((n for n in range(longest, self._min_bytes - 1, -1) if self._old.endswith(held[:n])), 0)


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
