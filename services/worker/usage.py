"""Tokens over all attempts of a stream: what each provider reported, and what nobody reported because it died."""

from collections.abc import Mapping
from typing import Any

from shared.store import Meta

__all__ = ("AttemptUsage", "field_of", "settled", "unreported")

AttemptUsage = dict[str, Any]
_COUNTS = ("input_tokens", "output_tokens", "total_tokens", "reasoning_tokens", "cached_tokens")


def field_of(attempt: int) -> str:
    """The meta field that holds the usage of one attempt."""
    return f"usage:{attempt}"


def unreported(meta: Meta) -> AttemptUsage:
    """What is known of the attempt that `meta` shows, when its provider will never say: the bytes it had written."""
    kept = next((fence.keep for fence in meta.fences if fence.attempt == meta.attempt), 0)
    known = meta.usages.get(meta.attempt, {})
    return {"provider": meta.provider, **known, "output_bytes": meta.tail - kept}


def settled(attempts: Mapping[int, AttemptUsage]) -> dict[str, Any]:
    """The sums of what was reported, with each attempt beside them.

    `complete` is false if some attempt has no count of its own: a provider call that died was paid for all the same.
    """
    listed = [{"attempt": attempt, **usage} for attempt, usage in sorted(attempts.items())]
    reported = [name for name in _COUNTS if any(name in usage for usage in listed)]
    sums = {name: sum(usage.get(name, 0) for usage in listed) for name in reported}
    return {**sums, "complete": all("output_tokens" in usage for usage in listed), "attempts": listed}
