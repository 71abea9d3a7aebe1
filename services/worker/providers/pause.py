"""The pause that a provider asks for, and whether it wants to be asked again at all.

A pause of 0 is none: providers send `Retry-After: 0` and `retry-after-ms: 0` while they are still overloaded.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

__all__ = ("MAX_RETRY_AFTER_S", "pause_in_words", "retry_after_s", "seconds_of", "should_retry")

# A provider that asks for more than this is as good as down; the caller's own policy decides then.
MAX_RETRY_AFTER_S: Final = 300.0

_IN_MILLISECONDS: Final = ("retry-after-ms", "x-ms-retry-after-ms")
# "Please retry in 48.9s", "Please try again in 7m12.5s", "retry after 250ms".
_IN_WORDS: Final = re.compile(r"(?:retry|try again) (?:in|after) ((?:[0-9.]{1,12} ?(?:h|ms|m|s)(?:econds?)? ?){1,4})")
_SPAN: Final = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?) ?(h|ms|m|s)")
_UNIT_S: Final = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001}


def retry_after_s(headers: Mapping[str, str], *, now: datetime) -> float | None:
    """Seconds until another try, from the headers that say so; `None` if none does, or it says 0."""
    for name in _IN_MILLISECONDS:
        if milliseconds := _number(headers.get(name)):
            return _capped(milliseconds / 1000)
    after = headers.get("Retry-After")
    seconds = _number(after)
    if seconds is None and after is not None:
        seconds = _seconds_until(after, now=now)
    return _capped(seconds) if seconds is not None and seconds > 0 else None


def should_retry(headers: Mapping[str, str]) -> bool | None:
    """Return what `x-should-retry` says; None if it says nothing."""
    return {"true": True, "false": False}.get(headers.get("x-should-retry", "").strip().lower())


def seconds_of(span: object) -> float | None:
    """A pause such as `48s`, `1m3.5s` or a number of seconds; `None` for what is none, or 0."""
    if isinstance(span, int | float) and not isinstance(span, bool):
        return _capped(float(span)) if span > 0 else None
    parts = _SPAN.findall(span[:64]) if isinstance(span, str) else []
    seconds = sum(float(number) * _UNIT_S[unit] for number, unit in parts)
    return _capped(seconds) if seconds > 0 else None


def pause_in_words(message: str) -> float | None:
    """The pause that a message speaks of, for providers that send no header."""
    found = _IN_WORDS.search(message.lower())
    return seconds_of(found[1]) if found else None


def _number(text: str | None) -> float | None:
    # Only plain digits: `float` also takes `inf`, `nan`, underscores and the digits of every script.
    whole = text.strip().replace(".", "", 1) if text else ""
    return float(text) if text and whole.isascii() and whole.isdigit() else None


def _seconds_until(date: str, *, now: datetime) -> float | None:
    try:
        then = parsedate_to_datetime(date)
    except (ValueError, OverflowError):
        return None
    return (then.replace(tzinfo=then.tzinfo or UTC) - now).total_seconds()


def _capped(seconds: float) -> float:
    return min(seconds, MAX_RETRY_AFTER_S)
