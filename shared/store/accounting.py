"""Memory of things in Redis as the sums count it: the same numbers and the same arithmetic as in Lua."""

from collections.abc import Iterable
from dataclasses import astuple, replace
from typing import Final

from shared.settings.settings import Settings
from shared.store.state import ByteSums

__all__ = ("TombstoneAccounting", "request_room_bytes", "room_bytes", "share_bytes", "usage_sum")

# As STREAM_OVERHEAD and GROWTH_OVERHEAD.
_STREAM_BYTES, _GROWTH_BYTES = 2048, 4608
# As LARGE_REQUEST_BYTES and STRING_OVERHEAD.
_LARGE_REQUEST_BYTES: Final = 4096
_STRING_BYTES: Final = 16


def share_bytes(*, folded: int, is_fully_folded: bool) -> int:
    """Return what the sums count for a stream besides its bytes: its keys, and until it is folded room to grow into.

    Twice as much once anything is folded, because blocks grow too.
    """
    if is_fully_folded:
        return _STREAM_BYTES
    return _STREAM_BYTES + (2 if folded else 1) * _GROWTH_BYTES


def room_bytes(size: int) -> int:
    """Return the bytes that `size` takes: rounded up to a quarter of the power of two below, as allocators do."""
    step = 1 << max((size - 1).bit_length() - 3, 0)
    return -(-size // step) * step


def request_room_bytes(size: int) -> int:
    """Return the bytes that a request of `size` bytes counts."""
    return size if size < _LARGE_REQUEST_BYTES else room_bytes(size + _STRING_BYTES)


def usage_sum(found: Iterable[ByteSums]) -> ByteSums:
    """The usage of several buckets. A sum that drifted below nothing counts as nothing."""
    usages = list(found)
    columns = zip(*map(astuple, usages), strict=True)
    total = ByteSums(*(max(sum(column), 0) for column in columns))
    return replace(total, largest=max((usage.largest for usage in usages), default=0))


# Tombstones are no part of the sums, so they are reckoned and taken off what streams may hold. Were their share of
# the budget to become larger than this, they stand less long. At a fiftieth, those of streams of 20 KB that came at a
# hundred a second stood for less than a minute.
_TOMBSTONE_BYTES: Final = 256

_TOMBSTONES_SHARE: Final = 0.1

_CHURN_LEAST_S, _CHURN_SURE_S, _CHURN_MOST_S = 10.0, 60.0, 600.0


class TombstoneAccounting:
    """The rate at which streams come and go, and from it the life of a tombstone that keeps all of them small."""

    def __init__(self) -> None:
        self._since: tuple[float, int] | None = None
        self._gone_before = 0
        self._gone = 0
        self._last_per_s = 0.0
        self._per_s = 0.0

    def note(self, now: float, usage: ByteSums) -> None:
        """Take in how many streams were ever created, and how many have gone."""
        gone = usage.evicted + usage.expired
        if self._since is None or usage.created < self._since[1]:
            self._since, self._gone_before, self._last_per_s = (now, usage.created), gone, 0.0
        self._gone = gone - self._gone_before
        elapsed_s = now - self._since[0]
        self._per_s = (usage.created - self._since[1]) / max(elapsed_s, _CHURN_LEAST_S)
        if elapsed_s < _CHURN_SURE_S:
            self._per_s = max(self._per_s, self._last_per_s)
        elif elapsed_s > _CHURN_MOST_S:
            self._since, self._last_per_s = (now, usage.created), self._per_s

    def tombstone_bytes(self, settings: Settings) -> int:
        """About what the tombstones of streams that went while we looked take now."""
        standing = min(self._per_s * self.tombstone_ms(settings) / 1000, self._gone)
        return round(standing * _TOMBSTONE_BYTES)

    def tombstone_ms(self, settings: Settings) -> int:
        if not self._per_s:
            return settings.retention.tombstone_ms
        room_s = settings.max_total_bytes * _TOMBSTONES_SHARE / _TOMBSTONE_BYTES / self._per_s
        return min(settings.retention.tombstone_ms, round(room_s * 1000))
