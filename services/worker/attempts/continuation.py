"""Going on with an answer that was interrupted: whether it can be, what to ask for, and how much may still be said.

Pure. Where to cut the answer was decided when it was written (the safe offset of `append`); how to join what comes is
in `attempts/joining.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, Literal

from services.worker.attempts.joining import Gap, Joiner
from services.worker.providers.provider import CompletionRequest, Provider
from shared.errors import ProviderRejected
from shared.log.events import Event, pieces

__all__ = (
    "GO_ON",
    "LAST_WORDS",
    "Capability",
    "Continuing",
    "allows_continuation",
    "continuing_fields",
    "continuing_messages",
    "emitted_tokens",
    "is_continuable",
    "less_tokens",
    "text_to_continue",
)

Capability = Literal["prefill", "prefix", "partial", "continue_final_message", "message", "none"]

# Stands for the end of the answer so far in the text of the closing turn.
LAST_WORDS: Final = "{last_words}"
# The model's own last words, between ellipses, as the closing turn of a `message` continuation. An instruction would be
# in one language while the persona and the answer are in another; models answer an English one in English.
GO_ON: Final = f"… {LAST_WORDS} …"
_MAX_LAST_CHARS: Final = 80

# The limits of an answer's length, under both of their names.
_LIMITS: Final = ("max_tokens", "max_completion_tokens")
# English has some 4.3 bytes a token, code 3 to 4; outside of ASCII a character is a token, more or less.
_ASCII_A_TOKEN: Final = 4


def allows_continuation(options: Mapping[str, Any]) -> bool:
    """Return whether an answer under these options can be continued: one of a given form, or a forced call, cannot."""
    form, choice = options.get("response_format"), options.get("tool_choice")
    is_formed = form is not None and not (isinstance(form, dict) and form.get("type") == "text")
    return not is_formed and choice in (None, "auto", "none")


def text_to_continue(parts: Sequence[Mapping[str, Any]]) -> str:
    """All text so far, if text is what the answer ends with; reasoning before it does no harm.

    Empty otherwise: providers do not take reasoning back, a call may be half-written, and after one comes its result.
    """
    said = [part for part in parts if part.get("text") or part["type"] == "tool_call"]
    if not said or said[-1]["type"] != "text" or not {part["type"] for part in said} <= {"text", "reasoning"}:
        return ""
    return "".join(part["text"] for part in said if part["type"] == "text")


def continuing_messages(
    messages: Sequence[Mapping[str, Any]],
    parts: Sequence[Mapping[str, Any]],
    capability: Capability,
    *,
    go_on: str = GO_ON,
) -> list[Mapping[str, Any]] | None:
    """The messages whose answer follows `parts` (`{"type", "text"}`, as in `reset`); `None`: start over instead.

    A prefill goes without the white space at its end, which Anthropic's models refuse.
    """
    text = text_to_continue(parts)
    content = text.rstrip() if capability == "prefill" else text
    if not content.strip() or capability == "none":
        return None
    turn: dict[str, Any] = {"role": "assistant", "content": content}
    if capability in {"prefix", "partial"}:
        turn[capability] = True
    closing = [{"role": "user", "content": go_on.replace(LAST_WORDS, _last_words(text))}]
    return [*messages, turn, *(closing if capability == "message" else ())]


def continuing_fields(capability: Capability) -> Mapping[str, Any]:
    """Return the other fields that a continuing request needs."""
    if capability == "continue_final_message":
        return {"continue_final_message": True, "add_generation_prompt": False}
    return {}


def emitted_tokens(parts: Sequence[Mapping[str, Any]], reported: Sequence[int | None]) -> int:
    """Tokens of the answer so far: the sum of what its attempts reported, an estimate if one of them did not."""
    if reported and None not in reported:
        return sum(count for count in reported if count is not None)
    return sum(map(_estimated, _texts(parts)))


def less_tokens(options: Mapping[str, Any], emitted: int) -> Mapping[str, Any] | None:
    """The options with the limits of length reduced by what was emitted; `None` if nothing is left of one."""
    left = {name: options[name] - emitted for name in _LIMITS if isinstance(options.get(name), int)}
    return None if any(tokens < 1 for tokens in left.values()) else {**options, **left}


def _texts(parts: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    return (part.get("text") or part.get("arguments") or "" for part in parts)


def _estimated(text: str) -> int:
    others = len(text) - len(text.encode("ascii", "ignore"))
    return -(-(len(text) - others) // _ASCII_A_TOKEN) + others


def _last_words(text: str) -> str:
    words = " ".join(text[-2 * _MAX_LAST_CHARS :].split())
    if len(words) <= _MAX_LAST_CHARS:
        return words
    _, blank, whole = words[-_MAX_LAST_CHARS:].partition(" ")
    return whole if blank else words[-_MAX_LAST_CHARS:]


def is_continuable(parts: Sequence[Mapping[str, Any]], options: Mapping[str, Any] | None = None) -> bool:
    """Return whether an answer with these parts, under these options, can be taken up."""
    return bool(text_to_continue(parts).strip()) and allows_continuation(options or {})


class Continuing:
    """One continuation of the message `parts`, which are continuable."""

    def __init__(self, parts: Sequence[Mapping[str, Any]]) -> None:
        self._parts = parts
        self._joiner: Joiner | None = None
        self._gap = Gap("")

    def request_to(self, provider: Provider, request: CompletionRequest) -> CompletionRequest:
        """The request that asks this provider to go on. Raises `ProviderRejected` if it cannot be asked."""
        settings = provider.settings
        go_on = settings.continuation_text or GO_ON
        messages = continuing_messages(request.messages, self._parts, settings.continuation, go_on=go_on)
        if messages is None:
            raise ProviderRejected
        shown = str(messages[len(request.messages)]["content"])
        self._joiner = Joiner(shown, is_told=settings.continuation == "message")
        self._gap = Gap(text_to_continue(self._parts)[len(shown) :])
        return replace(request, messages=messages, extra=continuing_fields(settings.continuation))

    def trimmed(self, events: Sequence[Event]) -> Sequence[Event]:
        """The events without the beginning that repeats what is kept. Raises `Ambiguous`."""
        fresh: list[Event] = []
        for event in events:
            if event.kind == "text":
                fresh += self._joined(event.value)
            else:
                # Reasoning comes first, before there is anything to join.
                fresh += [*(self.rest() if self._is_joining else ()), event]
        return fresh

    def rest(self) -> Sequence[Event]:
        """Return what was held back as a possible repetition, at the end of the answer. Raises `Ambiguous`."""
        joiner, self._joiner = self._joiner, None
        return _text(self._gap.feed(joiner.finish())) if joiner is not None else ()

    @property
    def _is_joining(self) -> bool:
        return self._joiner is not None and self._joiner.is_holding

    def _joined(self, value: bytes) -> Sequence[Event]:
        if self._joiner is not None:
            value = self._joiner.feed(value)
        return _text(self._gap.feed(value))


def _text(value: bytes) -> Sequence[Event]:
    return pieces(Event("text", value, len(value))) if value else ()
