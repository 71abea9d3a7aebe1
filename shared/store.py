"""What Tailrace asks of a store, and every answer it can get. PROTOCOL.md, section 4, is this page in words.

Two implementations keep the same contract, and one test suite runs on both: `redis_store.py` for the world,
`memory_store.py` for simulation. Replies are types, not exceptions, because a refused append is an ordinary event in
the life of a worker. Exceptions (`StoreError`) are left for a store that cannot answer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, Protocol

from shared.events import Event, LogEntry
from shared.lineage import Fence, Lineage
from shared.position import Position
from shared.token_usage import AttemptUsage, settled

__all__ = (
    "Append",
    "AppendReply",
    "Appended",
    "Beat",
    "BeatReply",
    "Beating",
    "CancelListener",
    "CancelReply",
    "Cancelling",
    "Claim",
    "ClaimReply",
    "Claimed",
    "Closed",
    "Compact",
    "CompactReply",
    "Compacted",
    "CreateReply",
    "Created",
    "Deleted",
    "Ended",
    "EvictReply",
    "Evicted",
    "Eviction",
    "Exhausted",
    "Exists",
    "Fenced",
    "FinishReply",
    "Gone",
    "Held",
    "Interruption",
    "Listing",
    "Live",
    "Meta",
    "NewStream",
    "Recount",
    "Retention",
    "Server",
    "Snapshot",
    "Stale",
    "Stalest",
    "Status",
    "Store",
    "TailMismatch",
    "Tailer",
    "Tombstone",
    "Usage",
    "is_over",
)

Status = Literal["queued", "running", "done", "error", "cancelled"]
Interruption = Literal["continue", "restart", "fail"]
Eviction = Literal["expired", "evicted"]


def is_over(status: str) -> bool:
    """Whether a stream with this status has its terminal event."""
    return status in {"done", "error", "cancelled"}


@dataclass(frozen=True, slots=True)
class Retention:
    """How long keys live: `live_ms` beyond the last heartbeat, `retain_ms` after the end, a tombstone longer still."""

    live_ms: int
    retain_ms: int
    tombstone_ms: int


# Calls


@dataclass(frozen=True, slots=True)
class NewStream:
    """A stream to be created. `request` is the body for the provider; it is kept apart and dropped at the end."""

    id: str
    tenant: str
    model: str
    request: bytes = field(repr=False)
    digest: str = ""
    metadata: bytes = field(default=b"{}", repr=False)
    interruption: Interruption | None = None
    dispatch_ms: int = 30_000


@dataclass(frozen=True, slots=True)
class Claim:
    """Become the writer. `holder` is the caller's own nonce when it takes over from itself."""

    nonce: str
    worker: str
    lease_ms: int
    mode: Literal["continue", "restart"] = "restart"
    reason: str = "start"
    holder: str = ""
    provider: str = ""
    max_attempts: int = 3


class Append(NamedTuple):
    """Add `events` if the log still ends at `tail`. `safe` is the end of the last part that a fence may keep.

    `updates` go into meta in the same step. At most one event is terminal, and it is the last. One is made for almost
    each chunk of a provider: 0.3 µs, and 0.9 for a frozen dataclass of six fields.
    """

    id: str
    nonce: str
    tail: int
    events: Sequence[Event]
    safe: int
    updates: Mapping[str, str | int | bytes] = MappingProxyType({})

    def __repr__(self) -> str:
        return f"Append(id={self.id!r}, nonce={self.nonce!r}, tail={self.tail}, safe={self.safe})"


@dataclass(frozen=True, slots=True)
class Beat:
    """A sign of life from the writer: renews the lease and every expiry of the stream."""

    id: str
    nonce: str
    lease_ms: int


@dataclass(frozen=True, slots=True)
class Compact:
    """Fold the oldest entries into a block of at most `block_bytes`, then trim what is over `max_bytes`.

    A live stream is folded by its writer (`nonce`), a finished one by anybody (no nonce). One call does a bounded
    amount of work; `Compacted.more` says that there is more to fold.
    """

    id: str
    nonce: str = ""
    block_bytes: int = 1_000_000
    max_bytes: int = 50 * 1024 * 1024


# Answers


@dataclass(frozen=True, slots=True)
class Created:
    created_ms: int


@dataclass(frozen=True, slots=True)
class Exists:
    """The id is taken: by the same tenant's idempotent request (compare `digest`), or by chance."""

    digest: str
    status: str
    tenant: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """The caller is the writer now. The log ends at `keep`; `request` is what to send to the provider."""

    attempt: int
    keep: int
    request: bytes = field(repr=False)
    cancelling: bool = False
    interruption: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody else's lease runs until `until_ms`."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class Exhausted:
    """The stream has used up its attempts."""

    attempt: int


@dataclass(slots=True)
class Appended:
    """Done: the log ends at `tail`. `cancelling` asks the writer to stop; `bytes` is what the stream holds.

    `unfolded` of these bytes are single entries: what a compaction could make smaller. Neither is told each time, but
    before there is half a KiB more of either. Not frozen, because one is made for almost each chunk of a provider:
    0.15 µs, and 0.5 for a frozen one.
    """

    tail: int
    cancelling: bool = False
    bytes: int | None = None
    unfolded: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class TailMismatch:
    """Nothing was written: the log ends at `tail`."""

    tail: int


@dataclass(frozen=True, slots=True)
class Fenced:
    """Nothing was written: attempt number `attempt` has taken over."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Closed:
    """Nothing was written: the stream ended as `status`, at `tail`."""

    status: str
    tail: int


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing was written: the stream has expired, was deleted, or never was."""


@dataclass(frozen=True, slots=True)
class Beating:
    cancelling: bool


@dataclass(frozen=True, slots=True)
class Cancelling:
    """A live writer was asked to stop; it will end the stream."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The stream was ended by the call itself, because nobody was writing it."""

    attempt: int
    tail: int


@dataclass(frozen=True, slots=True)
class Stale:
    """Nothing was done: the call was aimed at an attempt that is not the current one."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Deleted:
    pass


@dataclass(frozen=True, slots=True)
class Compacted:
    """Done: blocks reach up to `folded`, nothing before `trimmed` is left, the stream holds `bytes`."""

    folded: int
    trimmed: int
    bytes: int
    unfolded: int
    more: bool


@dataclass(frozen=True, slots=True)
class Evicted:
    """The stream is gone, and with it `bytes` of the sums."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Live:
    """Nothing was done: the stream is being written, or its time is not up."""


CreateReply = Created | Exists | Gone
ClaimReply = Claimed | Held | Exhausted | Closed | Gone
AppendReply = Appended | TailMismatch | Fenced | Closed | Gone
BeatReply = Beating | Fenced | Closed | Gone
CancelReply = Cancelling | Ended | Closed | Stale | Gone
FinishReply = Ended | Held | Closed | Gone
CompactReply = Compacted | Fenced | Closed | Gone
EvictReply = Evicted | Live | Gone


# State


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
    """What is left of a stream: whose it was, when it went, and whether it was deleted."""

    tenant: str
    gone_ms: int
    deleted: bool


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of streams, newest first; `next` continues it."""

    streams: Sequence[Meta]
    next: str | None


@dataclass(frozen=True, slots=True)
class Usage:
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
class Stalest:
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
    """The memory of the store as a whole. `max_bytes` is 0 without a limit; `policy` is what happens at it."""

    used_bytes: int
    max_bytes: int
    policy: str


class Tailer(Protocol):
    """One reader of many logs, on a connection that nothing else uses. Trusted to be closed by its owner."""

    async def read(
        self, cursors: Mapping[str, Position], *, count: int, block_ms: int | None
    ) -> Mapping[str, Sequence[LogEntry]]:
        """What follows the cursors, at most `count` entries a stream. `block_ms=None` does not wait.

        A stream that does not exist is silent: check, then read (`Store.present`).
        """
        ...

    async def interrupt(self) -> None:
        """Make a waiting `read` return now, so that its cursors can change."""
        ...

    async def aclose(self) -> None: ...


class CancelListener(Protocol):
    """Hears of stops as they are asked for. A message may be lost; the flag in meta is not."""

    async def next(self) -> str:
        """The id of the next stream that somebody asked to stop."""
        ...

    async def aclose(self) -> None: ...


class Store(Protocol):
    """Every method raises `StoreError` when the store cannot answer; what was asked may then have happened."""

    async def create(self, new: NewStream, retention: Retention) -> CreateReply:
        """Atomic: meta, request, lease index and expiries are set together, or nothing is."""
        ...

    async def claim(self, stream_id: str, claim: Claim, retention: Retention) -> ClaimReply:
        """The claim is the lock and the fence: afterwards no older attempt can write. Fence first, read after."""
        ...

    async def append(self, appends: Sequence[Append], retention: Retention) -> Sequence[AppendReply | Exception]:
        """Compare-and-append, one answer for each, in one round trip. Each append is atomic by itself.

        A refusal by the store (`StoreError`) stands in the place of that append's answer.
        """
        ...

    async def heartbeat(self, beats: Sequence[Beat], retention: Retention) -> Sequence[BeatReply | Exception]: ...

    async def cancel(self, stream_id: str, *, attempt: int | None, nonce: str, retention: Retention) -> CancelReply:
        """Ask for the end. With no writer alive the stream ends here; `nonce` is for the fence this takes."""
        ...

    async def finish(self, stream_id: str, event: Event, *, nonce: str, retention: Retention) -> FinishReply:
        """End a stream that nobody holds with a terminal event."""
        ...

    async def release(self, stream_id: str, nonce: str) -> BeatReply:
        """Give the lease back, so that the next claim need not wait for it to run out."""
        ...

    async def delete(self, stream_id: str, retention: Retention) -> Deleted | Gone: ...

    async def meta(self, stream_id: str) -> Meta | None: ...

    async def read(self, stream_id: str, after: Position, *, limit: int) -> Snapshot | None:
        """Meta and up to `limit` entries after a position, of one instant; `None` if there is no such stream."""
        ...

    async def tombstone(self, stream_id: str) -> Tombstone | None: ...

    async def present(self, stream_ids: Sequence[str]) -> Sequence[str]:
        """Those of the streams whose log or meta has vanished are left out."""
        ...

    async def due(self, *, limit: int) -> Sequence[str]:
        """Live streams whose lease or dispatch deadline has passed, by Redis' clock."""
        ...

    async def listing(self, tenant: str, *, status: str | None, limit: int, cursor: str | None) -> Listing: ...

    async def statistics(self) -> Mapping[str, int]:
        """Sums over all buckets: `streams_live`, `streams_finished`, `bytes`, …"""
        ...

    async def touch(self, stream_id: str) -> None:
        """Somebody reads a finished stream: it becomes the last to be evicted."""
        ...

    async def compact(self, calls: Sequence[Compact]) -> Sequence[CompactReply | Exception]:
        """Merge the oldest entries, lossless for every cursor, then trim what is over the budget of the stream."""
        ...

    async def evict(
        self, stream_ids: Sequence[str], *, why: Eviction, tombstone_ms: int
    ) -> Sequence[EvictReply | Exception]:
        """Remove finished streams. Their tombstones say when; with `tombstone_ms=0` there are none."""
        ...

    async def maintenance_due(self, *, quiet_ms: int, limit: int) -> Sequence[str]:
        """Finished streams that are to be folded, being over for `quiet_ms`, or whose time is up; longest due first."""
        ...

    async def stalest(self, *, limit: int, place: str | None = None) -> Sequence[Stalest]:
        """Streams in the order of their last access, the least recent first."""
        ...

    async def usage(self, *, buckets: int = 256) -> Usage:
        """Sums over all buckets, or the first so many. They may lag behind live streams (PROTOCOL.md, section 8)."""
        ...

    async def usage_by_bucket(self) -> Mapping[str, Usage]: ...

    async def tenant_bytes(self, tenant: str) -> int: ...

    async def tenants(self) -> Mapping[str, int]:
        """Bytes by tenant. Costs as much as there are tenants."""
        ...

    async def recount(self, bucket: str, *, limit: int) -> Recount | None:
        """Correct the sums of one bucket from its streams; None if it has more than `limit`."""
        ...

    async def footprint(self, stream_id: str) -> int:
        """What the keys of a stream really take in the store."""
        ...

    async def server(self) -> Server: ...

    async def secret(self) -> bytes:
        """The random key of idempotent ids, made once for all processes."""
        ...

    async def ping(self) -> None: ...

    def tailer(self) -> Tailer: ...

    def cancellations(self) -> CancelListener: ...

    async def forget(self, stream_id: str) -> None:
        """Take a stream that has expired out of the indexes that still name it."""
        ...

    async def aclose(self) -> None: ...
