"""The answers of a store about a stream, a listing, its sums and its server."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from shared.log.events import LogEntry
from shared.log.lineage import Fence, Lineage
from shared.log.tokens import AttemptUsage, settled
from shared.store.version import Version

__all__ = (
    "ByteSums",
    "EvictionCandidate",
    "Listing",
    "Meta",
    "Recount",
    "Server",
    "Snapshot",
    "Status",
    "Tombstone",
    "evicts",
    "is_over",
    "unreported",
)


Status = Literal["queued", "running", "done", "error", "cancelled"]


def evicts(policy: str) -> bool:
    """Return whether Redis drops keys under this `maxmemory-policy` when it is full. Tailrace refuses such a server."""
    return policy != "noeviction"


def is_over(status: str) -> bool:
    """Return whether a stream with this status has its terminal event."""
    return status in {"done", "error", "cancelled"}


@dataclass(frozen=True, slots=True)
class Meta:
    """The meta hash of a stream. Times are Redis' own clock in ms; 0 means not yet."""

    id: str
    tenant: str
    status: str
    model: str
    attempt: int
    nonce: str
    tail: int
    folded: int
    trimmed: int
    provider: str
    worker: str
    bytes: int
    cancelling: bool
    created_ms: int
    started_ms: int
    first_ms: int
    finished_ms: int
    expires_ms: int
    lease_ms: int
    interruption: str
    finish_reason: str
    error: dict[str, Any] | None = field(repr=False)
    metadata: dict[str, Any] = field(repr=False)
    usages: Mapping[int, AttemptUsage] = field(repr=False)
    fences: tuple[Fence, ...] = field(repr=False)
    excused: int = 0

    @property
    def is_over(self) -> bool:
        return is_over(self.status)

    @property
    def usage(self) -> dict[str, Any] | None:
        """The usage of all attempts, once a writer has ended the stream: it leaves its own with the ending."""
        return settled(self.usages) if self.is_over and self.attempt in self.usages else None

    @property
    def lineage(self) -> Lineage:
        return Lineage(self.fences, self.tail)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Meta and a page of the log, of one instant. `entries` follow the cursor; folded ones come merged."""

    meta: Meta
    entries: Sequence[LogEntry]


@dataclass(frozen=True, slots=True)
class Tombstone:
    """The rest of a stream that is gone: whose it was, when it went, and whether it was deleted."""

    tenant: str
    gone_ms: int
    deleted: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of streams, newest first; `next` continues it."""

    streams: Sequence[Meta]
    next: str | None


@dataclass(frozen=True, slots=True)
class ByteSums:
    """Sums over streams. `bytes` has a share for the keys of each stream; `blocks` and `requests` are parts of it.

    `largest` is what the largest stream held when its bucket was last recounted.
    """

    bytes: int = 0
    blocks: int = 0
    requests: int = 0
    created: int = 0
    evicted: int = 0
    expired: int = 0
    compactions: int = 0
    trimmed_units: int = 0
    largest: int = 0


@dataclass(frozen=True, slots=True)
class EvictionCandidate:
    """A stream that nobody has read for long. Its eviction frees `bytes`; `place` continues the walk to later ones."""

    id: str
    tenant: str
    status: str
    bytes: int
    touched_ms: int
    place: str


@dataclass(frozen=True, slots=True)
class Recount:
    """By how many bytes the sum of a bucket was off, what it holds, and the bytes of its largest stream."""

    drift: int
    streams: int
    largest: int


@dataclass(frozen=True, slots=True)
class Server:
    """The store as a whole. `max_bytes` is 0 without a limit; `policy` is what happens at it."""

    used_bytes: int
    max_bytes: int
    policy: str
    version: Version | None = None

    @property
    def evicts(self) -> bool:
        """Return whether keys are dropped at the limit, and streams with them."""
        return evicts(self.policy)


def unreported(meta: Meta) -> AttemptUsage:
    """Return the known usage of the attempt in `meta` whose provider will never report: the bytes it had written."""
    kept = next((fence.keep for fence in meta.fences if fence.attempt == meta.attempt), 0)
    known = meta.usages.get(meta.attempt, {})
    return {"provider": meta.provider, **known, "output_bytes": meta.tail - kept}
