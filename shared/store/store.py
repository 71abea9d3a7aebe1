"""The calls of a store, by who needs them. PROTOCOL.md, section 4, is this page in words.

Two implementations keep the same contract, and one test suite runs on both: `redis/store.py` for the world,
`memory/store.py` for simulation. Replies are types, not exceptions, because a refused append is an ordinary event in
the life of a worker. Exceptions (`StoreError`) are left for a store that cannot answer.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol

from shared.log.events import Event, LogEntry
from shared.log.position import Position
from shared.store.calls import Append, Claim, Compact, Eviction, LeaseRenewal, NewStream, Retention
from shared.store.replies import (
    AppendReply,
    CancelReply,
    ClaimReply,
    CompactReply,
    CreateReply,
    Deleted,
    EvictReply,
    FinishReply,
    Gone,
    RenewalReply,
)
from shared.store.state import (
    ByteSums,
    EvictionCandidate,
    Listing,
    Meta,
    Recount,
    Server,
    Snapshot,
    Tombstone,
)

__all__ = (
    "CancelListener",
    "Role",
    "Store",
    "StoreMaintenance",
    "StreamReads",
    "StreamRequests",
    "StreamWrites",
    "Tailer",
)

Role = Literal["edge", "worker"]


class Tailer(Protocol):
    """One reader of many logs, on a connection that nothing else uses. Trusted to be closed by its owner."""

    async def read(
        self, cursors: Mapping[str, Position], *, count: int, block_ms: int | None
    ) -> Mapping[str, Sequence[LogEntry]]:
        """Return the entries after the cursors, at most `count` for each stream. `block_ms=None` does not wait.

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


class StreamRequests(Protocol):
    """The calls of the edge's clients: streams are created, stopped, deleted and listed."""

    async def create(self, new: NewStream, retention: Retention) -> CreateReply:
        """Atomic: meta, request, lease index and expiries are set together, or nothing is."""
        ...

    async def cancel(self, stream_id: str, *, attempt: int | None, nonce: str, retention: Retention) -> CancelReply:
        """Ask for the end. With no writer alive the stream ends here; `nonce` is for the fence this takes."""
        ...

    async def delete(self, stream_id: str, retention: Retention) -> Deleted | Gone: ...

    async def listing(self, tenant: str, *, status: str | None, limit: int, cursor: str | None) -> Listing: ...

    async def set_current(self, name: str, stream_id: str, *, expires_ms: int) -> None:
        """Note the stream that a thread is at, for so many ms. The last one counts."""
        ...

    async def current(self, name: str, *, expires_ms: int) -> str | None:
        """Return the id of that stream, and keep it for so many ms more; None if none is known."""
        ...

    async def secret(self, *, known: bytes | None = None) -> bytes:
        """Return the random key of idempotent ids, made once for all processes.

        `known` is what the caller was told before. A store that has lost its data takes it again from whoever comes
        first; to whoever comes later it tells what it was given.
        """
        ...


class StreamReads(Protocol):
    """The calls of readers, on edge and worker: the log, its state, and the tombstone of a stream that is gone."""

    async def meta(self, stream_id: str) -> Meta | None: ...

    async def read(self, stream_id: str, after: Position, *, limit: int) -> Snapshot | None:
        """Meta and up to `limit` entries after a position, of one instant; `None` if there is no such stream."""
        ...

    async def tombstone(self, stream_id: str) -> Tombstone | None: ...

    async def present(self, stream_ids: Sequence[str]) -> Sequence[str]:
        """Those of the streams whose log or meta has vanished are left out."""
        ...

    async def touch(self, stream_id: str) -> None:
        """Somebody reads a finished stream: it becomes the last to be evicted."""
        ...

    def tailer(self) -> Tailer: ...


class StreamWrites(Protocol):
    """The calls of a writer in a worker, from claim to ending."""

    async def claim(self, stream_id: str, claim: Claim, retention: Retention) -> ClaimReply:
        """The claim is the lock and the fence: afterwards no older attempt can write. Fence first, read after."""
        ...

    async def append(self, appends: Sequence[Append], retention: Retention) -> Sequence[AppendReply | Exception]:
        """Compare-and-append, one answer for each, in one round trip. Each append is atomic by itself.

        A refusal by the store (`StoreError`) stands in the place of that append's answer.
        """
        ...

    async def heartbeat(
        self, renewals: Sequence[LeaseRenewal], retention: Retention
    ) -> Sequence[RenewalReply | Exception]: ...

    async def release(self, stream_id: str, nonce: str) -> RenewalReply:
        """Give the lease back, so that the next claim need not wait for it to run out."""
        ...

    async def finish(self, stream_id: str, event: Event, *, nonce: str, retention: Retention) -> FinishReply:
        """End a stream that nobody holds with a terminal event."""
        ...

    def cancellations(self) -> CancelListener: ...


class StoreMaintenance(Protocol):
    """The calls about all streams together: which are due, folded, counted, and may go. Used by sweeper and budget."""

    async def due(self, *, limit: int) -> Sequence[str]:
        """Live streams whose lease or dispatch deadline has passed, by Redis' clock."""
        ...

    async def maintenance_due(self, *, quiet_ms: int, limit: int) -> Sequence[str]:
        """Finished streams that are to be folded, being over for `quiet_ms`, or whose time is up; longest due first."""
        ...

    async def eviction_candidates(self, *, limit: int, place: str | None = None) -> Sequence[EvictionCandidate]:
        """Streams in the order of their last access, the least recent first."""
        ...

    async def compact(self, calls: Sequence[Compact]) -> Sequence[CompactReply | Exception]:
        """Merge the oldest entries, lossless for every cursor, then trim what is over the budget of the stream."""
        ...

    async def evict(
        self, stream_ids: Sequence[str], *, why: Eviction, tombstone_ms: int
    ) -> Sequence[EvictReply | Exception]:
        """Remove finished streams. Their tombstones say when; with `tombstone_ms=0` there are none."""
        ...

    async def forget(self, stream_id: str) -> None:
        """Take a stream that has expired out of the indexes that still name it."""
        ...

    async def recount(self, bucket: str, *, limit: int) -> Recount | None:
        """Correct the sums of one bucket from its streams; None if it has more than `limit`."""
        ...

    async def usage(self, *, buckets: int = 256) -> ByteSums:
        """Sums over all buckets, or the first so many. They may lag behind live streams (PROTOCOL.md, section 8)."""
        ...

    async def usage_by_bucket(self) -> Mapping[str, ByteSums]: ...

    async def tenant_bytes(self, tenant: str) -> int: ...

    async def tenants(self) -> Mapping[str, int]:
        """Bytes by tenant. Costs as much as there are tenants."""
        ...

    async def footprint(self, stream_id: str) -> int:
        """Return the bytes that the keys of a stream really take in the store."""
        ...

    async def statistics(self) -> Mapping[str, int]:
        """Sums over all buckets: `streams_live`, `streams_finished`, `bytes`, …"""
        ...

    async def server(self) -> Server: ...


class Store(StreamRequests, StreamReads, StreamWrites, StoreMaintenance, Protocol):
    """All of it. Every method raises `StoreError` if the store cannot answer; what was asked may then have happened."""

    async def ping(self) -> None: ...

    async def watch(self) -> None:
        """Look after the way to the store until cancelled, where somebody has to; to be run beside all else."""
        ...

    async def prove(self, role: Role) -> None:
        """Return if the store would let a process of this role do all its work; else raise `StoreDenied`."""
        ...

    async def aclose(self) -> None: ...
