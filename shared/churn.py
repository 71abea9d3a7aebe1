"""What tombstones take. Their keys expire unheard, so nobody can count them: whoever looks at the budget reckons."""

from typing import Final

from shared.settings import Settings
from shared.store import Usage

__all__ = ("Churn",)

# Tombstones are no part of the sums, so they are reckoned and taken off what streams may hold. Were their share of
# the budget to become larger than this, they stand less long. At a fiftieth, those of streams of 20 KB that came at a
# hundred a second stood for less than a minute.
_TOMBSTONE_BYTES: Final = 256
_TOMBSTONES_SHARE: Final = 0.1
_CHURN_LEAST_S, _CHURN_SURE_S, _CHURN_MOST_S = 10.0, 60.0, 600.0


class Churn:
    """How fast streams come and go, and so how long a tombstone may stand for all of them to stay small."""

    def __init__(self) -> None:
        self._since: tuple[float, int] | None = None
        self._gone_before = 0
        self._gone = 0
        self._last_per_s = 0.0
        self._per_s = 0.0

    def note(self, now: float, usage: Usage) -> None:
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
