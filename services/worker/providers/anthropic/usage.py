"""Token counts of Anthropic's Messages API: its input excludes the cached part, ours includes it."""

from collections.abc import Mapping
from typing import Any

from services.worker.providers.frames.counts import count_in, counted, total_of

__all__ = ("counts_of",)


def counts_of(usage: Mapping[str, Any]) -> dict[str, int] | None:
    """The counts under our names; None if nothing was counted."""
    return counted(
        input_tokens=total_of(usage, "input_tokens", "cache_creation_input_tokens", "cache_read_input_tokens"),
        output_tokens=count_in(usage, "output_tokens"),
        reasoning_tokens=count_in(usage, "output_tokens_details", "thinking_tokens"),
        cached_tokens=count_in(usage, "cache_read_input_tokens"),
    )
