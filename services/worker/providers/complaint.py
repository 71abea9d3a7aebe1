"""The error that a provider's answer holds, in any of the shapes that providers use. Untrusted, bounded.

Shapes: `{"error": {…}}`, `[{"error": …}]`, `{"error": "text"}`, `{"object": "error", …}`, `{"message", "code"}`,
`{"detail": …}`, `{"type": "error", "error": {…}}`, `{"base_resp": {…}}`, an inner object by itself, and no JSON at all.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from services.worker.providers.pause import pause_in_words, seconds_of

__all__ = ("Complaint", "complaint_in", "complaint_of", "plain_name")

_MAX_MESSAGE_CHARS: Final = 500
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,127}")
_NESTED: Final = ("error", "base_resp", "detail")
_MESSAGES: Final = ("message", "msg", "status_msg", "detail", "error")
# Wrappers in wrappers: nobody nests deeper than this.
_MAX_DEPTH: Final = 4


@dataclass(frozen=True, slots=True)
class Complaint:
    """`code` and `type` as the provider names them, `words` all such names, `number` a status among them."""

    code: str | None = None
    type: str | None = None
    words: tuple[str, ...] = ()
    number: int | None = None
    message: str = field(default="", repr=False)
    retry_after_s: float | None = None
    request_id: str | None = None


def complaint_in(body: bytes) -> Complaint:
    """The complaint in the body of a refusal. What is no JSON is a message, unless it is a page."""
    try:
        return complaint_of(orjson.loads(body))
    except orjson.JSONDecodeError:
        text = body[: 4 * _MAX_MESSAGE_CHARS].decode(errors="replace").strip()
        return Complaint(message="" if text.startswith("<") else text[:_MAX_MESSAGE_CHARS])


def complaint_of(value: object) -> Complaint:
    """The complaint in a value that was JSON."""
    layers = list(_layers(value, _MAX_DEPTH))
    fields = [layer for layer in layers if isinstance(layer, dict)]
    message = next(filter(None, map(_message, reversed(layers))), "")
    hints = [layer.get(name) for layer in reversed(fields) for name in ("code", "status", "type")]
    details = [detail for layer in fields for detail in _details(layer)]
    return Complaint(
        code=_first_name(layer.get(name) for layer in reversed(fields) for name in ("code", "status")),
        type=_first_name(layer.get("type") for layer in reversed(fields)),
        words=tuple(_words([*map(_quota_of, details), *(detail.get("reason") for detail in details), *hints])),
        number=next(filter(None, map(_number, hints)), None),
        message=message[:_MAX_MESSAGE_CHARS],
        retry_after_s=_pause(details, message),
        request_id=_first_name(layer.get("request_id") for layer in fields),
    )


def plain_name(value: object) -> str | None:
    """A name or number fit for a log; `None` for what is neither, or might be a sentence."""
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    return text if _NAME.fullmatch(text) else None


def _layers(value: object, depth: int) -> Iterator[object]:
    """A value and what it wraps, outermost first."""
    if isinstance(value, list):
        value = value[0] if value else None
    yield value
    if isinstance(value, dict) and depth:
        inner = next((value[name] for name in _NESTED if value.get(name)), None)
        if inner is not None:
            yield from _layers(inner, depth - 1)


def _message(layer: object) -> str:
    if isinstance(layer, str):
        return layer
    texts = [layer.get(name) for name in _MESSAGES] if isinstance(layer, dict) else []
    return next((text for text in texts if isinstance(text, str) and text), "")


def _details(layer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Google's `details`, with the violations of a quota; OpenRouter's `metadata`."""
    given = layer.get("details")
    found = [detail for detail in given if isinstance(detail, dict)] if isinstance(given, list) else []
    metadata = layer.get("metadata")
    found += [metadata] if isinstance(metadata, dict) else []
    violations = [each for detail in found for each in _list(detail.get("violations")) if isinstance(each, dict)]
    return found + violations


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _quota_of(detail: Mapping[str, Any]) -> object:
    """`GenerateRequestsPerDayPerProjectPerModel-FreeTier` is out for today; per minute is a rate limit."""
    quota = detail.get("quotaId")
    return "quota_per_day" if isinstance(quota, str) and "PerDay" in quota else None


def _words(hints: list[object]) -> Iterator[str]:
    for hint in hints:
        name = plain_name(hint)
        if name is not None and not name.isdigit():
            yield name.lower()


def _first_name(values: Iterator[object]) -> str | None:
    return next(filter(None, map(plain_name, values)), None)


def _number(hint: object) -> int | None:
    text = str(hint) if isinstance(hint, str | int) else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) == 3 else None


def _pause(details: list[dict[str, Any]], message: str) -> float | None:
    told = next(filter(None, (seconds_of(detail.get("retryDelay")) for detail in details)), None)
    return told or pause_in_words(message)
