"""Latencies as counts per tenth of a millisecond: cheap to take, and those of several processes add up."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Self

__all__ = ("Latencies",)

_BUCKET_NS = 100_000


class Latencies:
    """Counts per bucket. Percentiles are the upper ends of buckets, in ms."""

    __slots__ = ("_counts",)

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self._counts = Counter(counts or {})

    def __repr__(self) -> str:
        return f"<Latencies n={self.count} p50={self.percentile_ms(50):.1f} ms>"

    @classmethod
    def of_ns(cls, values: Iterable[int]) -> Self:
        return cls(Counter(max(value, 0) // _BUCKET_NS for value in values))

    @classmethod
    def merged(cls, dumps: Iterable[Mapping[str, int]]) -> Self:
        """The sum of what several processes have dumped."""
        total: Counter[int] = Counter()
        for dump in dumps:
            total.update({int(bucket): count for bucket, count in dump.items()})
        return cls(total)

    @property
    def count(self) -> int:
        return self._counts.total()

    def percentile_ms(self, percent: float) -> float:
        """0 if nothing was measured."""
        wanted, seen = self.count * percent / 100, 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= wanted:
                return (bucket + 1) * _BUCKET_NS / 1e6
        return 0.0

    def dump(self) -> dict[str, int]:
        """For JSON, whose names are strings."""
        return {str(bucket): count for bucket, count in self._counts.items()}
