"""The store in memory: the same answers as Redis, for simulation. Nothing outlives the process, nothing leaves it."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

from shared.errors import StoreError
from shared.log.events import Event
from shared.log.position import Position
from shared.store.accounting import usage_sum
from shared.store.calls import Append, Claim, Compact, Eviction, LeaseRenewal, NewStream, Retention
from shared.store.memory.streams import Clock, MemoryStreams, Moment
from shared.store.memory.tailer import MemoryCancelListener, MemoryTailer, Sleep
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
from shared.store.state import ByteSums, EvictionCandidate, Listing, Meta, Recount, Server, Snapshot, Tombstone
from shared.store.store import CancelListener, Role, Tailer

__all__ = ("Clock", "MemoryStore", "Moment", "Sleep")

A = TypeVar("A")
T = TypeVar("T")


def _wall_clock() -> int:
    return time.time_ns() // 1_000_000


class MemoryStore:
    """`Store` in memory. `clock` tells the time in ms and `sleep` passes it in s, so a simulation can run its own.

    No method waits for anything but time; `streams` is the synchronous store underneath.
    """

    def __init__(self, *, clock: Clock = _wall_clock, sleep: Sleep = asyncio.sleep) -> None:
        self.streams = MemoryStreams(clock)
        self._sleep = sleep

    def __repr__(self) -> str:
        return f"<MemoryStore {self.streams!r}>"

    async def create(self, new: NewStream, retention: Retention) -> CreateReply:
        return self.streams.create(new, retention)

    async def claim(self, stream_id: str, claim: Claim, retention: Retention) -> ClaimReply:
        return self.streams.claim(stream_id, claim, retention)

    async def append(self, appends: Sequence[Append], retention: Retention) -> Sequence[AppendReply | Exception]:
        return [_answered(self.streams.append, call, retention) for call in appends]

    async def heartbeat(
        self, renewals: Sequence[LeaseRenewal], retention: Retention
    ) -> Sequence[RenewalReply | Exception]:
        return [_answered(self.streams.heartbeat, renewal, retention) for renewal in renewals]

    async def cancel(self, stream_id: str, *, attempt: int | None, nonce: str, retention: Retention) -> CancelReply:
        return self.streams.cancel(stream_id, attempt=attempt, nonce=nonce, retention=retention)

    async def finish(self, stream_id: str, event: Event, *, nonce: str, retention: Retention) -> FinishReply:
        return self.streams.finish(stream_id, event, nonce=nonce, retention=retention)

    async def release(self, stream_id: str, nonce: str) -> RenewalReply:
        return self.streams.release(stream_id, nonce)

    async def delete(self, stream_id: str, retention: Retention) -> Deleted | Gone:
        return self.streams.delete(stream_id, retention)

    async def meta(self, stream_id: str) -> Meta | None:
        return self.streams.meta(stream_id)

    async def read(self, stream_id: str, after: Position, *, limit: int) -> Snapshot | None:
        return self.streams.read(stream_id, after, limit=limit)

    async def tombstone(self, stream_id: str) -> Tombstone | None:
        return self.streams.tombstone(stream_id)

    async def present(self, stream_ids: Sequence[str]) -> Sequence[str]:
        return self.streams.present(stream_ids)

    async def due(self, *, limit: int) -> Sequence[str]:
        return self.streams.due(limit=limit)

    async def listing(self, tenant: str, *, status: str | None, limit: int, cursor: str | None) -> Listing:
        return self.streams.listing(tenant, status=status, limit=limit, cursor=cursor)

    async def statistics(self) -> Mapping[str, int]:
        return self.streams.statistics()

    async def touch(self, stream_id: str) -> None:
        self.streams.touch(stream_id)

    async def compact(self, calls: Sequence[Compact]) -> Sequence[CompactReply | Exception]:
        return [self.streams.compact(call) for call in calls]

    async def evict(
        self, stream_ids: Sequence[str], *, why: Eviction, tombstone_ms: int
    ) -> Sequence[EvictReply | Exception]:
        return [self.streams.evict(stream_id, why=why, tombstone_ms=tombstone_ms) for stream_id in stream_ids]

    async def maintenance_due(self, *, quiet_ms: int, limit: int) -> Sequence[str]:
        return self.streams.maintenance_due(quiet_ms=quiet_ms, limit=limit)

    async def eviction_candidates(self, *, limit: int, place: str | None = None) -> Sequence[EvictionCandidate]:
        return self.streams.eviction_candidates(limit=limit, place=place)

    async def usage(self, *, buckets: int = 256) -> ByteSums:
        found = self.streams.usage_by_bucket()
        return usage_sum(usage for bucket, usage in found.items() if int(bucket, 16) < buckets)

    async def usage_by_bucket(self) -> Mapping[str, ByteSums]:
        return self.streams.usage_by_bucket()

    async def tenant_bytes(self, tenant: str) -> int:
        return self.streams.tenant_bytes(tenant)

    async def tenants(self) -> Mapping[str, int]:
        return self.streams.tenants()

    async def recount(self, bucket: str, *, limit: int) -> Recount | None:
        return self.streams.recount(bucket, limit=limit)

    async def footprint(self, stream_id: str) -> int:
        return self.streams.footprint(stream_id)

    async def server(self) -> Server:
        return Server((await self.usage()).bytes, 0, "noeviction")

    async def secret(self, *, known: bytes | None = None) -> bytes:
        return self.streams.secret()

    async def set_current(self, name: str, stream_id: str, *, expires_ms: int) -> None:
        self.streams.set_current(name, stream_id, expires_ms)

    async def current(self, name: str, *, expires_ms: int) -> str | None:
        return self.streams.current(name, expires_ms)

    async def prove(self, role: Role) -> None:
        """There is nobody who could take rights away."""

    async def watch(self) -> None:
        """There is no way to look after."""

    async def ping(self) -> None:
        return None

    def tailer(self) -> Tailer:
        return MemoryTailer(self.streams, self._sleep)

    def cancellations(self) -> CancelListener:
        return MemoryCancelListener(self.streams)

    async def forget(self, stream_id: str) -> None:
        self.streams.forget(stream_id)

    async def aclose(self) -> None:
        return None

    # What simulation does to a store

    def expire(self, stream_id: str) -> None:
        self.streams.expire(stream_id)

    def lose_key(self, stream_id: str, key: str) -> None:
        self.streams.lose_key(stream_id, key)

    def lose_tail(self, stream_id: str, *, to: Position) -> None:
        self.streams.lose_tail(stream_id, to=to)

    def snapshot(self) -> Moment:
        return self.streams.snapshot()

    def restore(self, moment: Moment) -> None:
        self.streams.restore(moment)


def _answered(function: Callable[[A, Retention], T], call: A, retention: Retention) -> T | Exception:
    """The answer of one call of several, or the refusal that stands in its place."""
    try:
        return function(call, retention)
    except StoreError as refusal:
        return refusal
