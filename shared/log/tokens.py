"""Tokens of a stream's attempts: the lines that meta keeps of them, and the sum that readers see."""

from collections.abc import Mapping
from typing import Any, Final

__all__ = ("AttemptUsage", "noted", "read_usage", "settled", "usage_field", "usage_line")

AttemptUsage = dict[str, Any]

_COUNTS: Final = ("input_tokens", "output_tokens", "total_tokens", "reasoning_tokens", "cached_tokens")
# Names as they are in Redis. JSON under the whole names passes the 64 bytes of a value in a small hash.
_SHORT: Final = {
    "provider": "by",
    "input_tokens": "in",
    "output_tokens": "out",
    "total_tokens": "total",
    "reasoning_tokens": "think",
    "cached_tokens": "cached",
    "output_bytes": "bytes",
}
_LONG: Final = {short: name for name, short in _SHORT.items()}


def usage_field(attempt: int) -> str:
    """The meta field that holds the usage of one attempt."""
    return f"usage:{attempt}"


def usage_line(usage: AttemptUsage) -> str:
    """`by=local in=3 out=500 total=503`. No provider's name has a blank or a `=` in it."""
    return " ".join(f"{_SHORT.get(name, name)}={value}" for name, value in usage.items())


def read_usage(line: str) -> AttemptUsage:
    """The opposite of `usage_line`."""
    pairs = (word.partition("=")[::2] for word in line.split(" ") if word)
    return {_LONG.get(name, name): value if name == "by" else int(value) for name, value in pairs}


def settled(attempts: Mapping[int, AttemptUsage]) -> dict[str, Any]:
    """The sums of what was reported, with each attempt beside them.

    `complete` is false if some attempt has no count of its own: a provider call that died was paid for all the same.
    """
    listed = [{"attempt": attempt, **usage} for attempt, usage in sorted(attempts.items())]
    reported = [name for name in _COUNTS if any(name in usage for usage in listed)]
    sums = {name: sum(usage.get(name, 0) for usage in listed) for name in reported}
    return {**sums, "complete": all("output_tokens" in usage for usage in listed), "attempts": listed}


def noted(attempts: Mapping[int, AttemptUsage]) -> dict[str, str | int | bytes]:
    """The meta fields that hold the usage of these attempts."""
    return {usage_field(attempt): usage_line(usage) for attempt, usage in attempts.items()}
