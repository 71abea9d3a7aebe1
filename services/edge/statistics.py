"""The edge's statistics of the memory of all streams."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from shared.settings.settings import Settings
from shared.store.accounting import usage_sum
from shared.store.state import ByteSums

__all__ = ("memory_state",)


def memory_state(by_bucket: Mapping[str, ByteSums], settings: Settings, *, streams: int) -> Mapping[str, Any]:
    """Sums in bytes. `entries` is what is neither folded nor a request: single entries, and the keys of streams."""
    total = usage_sum(by_bucket.values())
    counts = asdict(total)
    held = counts.pop("bytes")
    return {
        "bytes": held,
        "limit_bytes": settings.max_total_bytes,
        "soft_limit_bytes": round(settings.max_total_bytes * settings.soft_share),
        "entries_bytes": max(held - total.blocks - total.requests, 0),
        "blocks_bytes": counts.pop("blocks"),
        "requests_bytes": counts.pop("requests"),
        "average_bytes": held // max(streams, 1),
        "largest_bytes": counts.pop("largest"),
        "by_bucket": {bucket: usage.bytes for bucket, usage in sorted(by_bucket.items())},
        **counts,
    }
