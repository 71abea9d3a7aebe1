"""Tokens over all attempts of a stream: what goes into meta, and what nobody reported because it died."""

from collections.abc import Mapping

from shared.store import Meta
from shared.token_usage import AttemptUsage, usage_field, usage_line

__all__ = ("noted", "unreported")


def noted(attempts: Mapping[int, AttemptUsage]) -> dict[str, str | int | bytes]:
    """The meta fields that hold the usage of these attempts."""
    return {usage_field(attempt): usage_line(usage) for attempt, usage in attempts.items()}


def unreported(meta: Meta) -> AttemptUsage:
    """What is known of the attempt that `meta` shows, when its provider will never say: the bytes it had written."""
    kept = next((fence.keep for fence in meta.fences if fence.attempt == meta.attempt), 0)
    known = meta.usages.get(meta.attempt, {})
    return {"provider": meta.provider, **known, "output_bytes": meta.tail - kept}
