"""Keeps the store within its byte budgets: folds what is over, removes what has expired, evicts when memory is short.

Every worker does it. Two that find the same stream are harmless: each function looks again before it acts.
"""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import cycle
from typing import Final

from services.worker.writing.fold_failures import FoldFailures
from shared.errors import StoreError
from shared.settings.settings import Settings
from shared.store.accounting import TombstoneAccounting
from shared.store.calls import Compact, Eviction
from shared.store.replies import Compacted, Evicted, EvictReply, Live
from shared.store.state import ByteSums, EvictionCandidate, Server, is_over
from shared.store.store import StoreMaintenance
from shared.telemetry.metrics import Metrics

__all__ = ("Budget", "limit_bytes")

logger = logging.getLogger(__name__)

# Calls of one pipeline: Redis does them one after the other, and everybody else waits for all of them.
_BATCH: Final = 25
_PAGE: Final = 250
# Between two looks: at least, and when an eviction may soon be needed.
_LEAST_PAUSE_S, _TIGHT_PAUSE_S = 0.05, 0.15
_TIGHT_SHARE: Final = 0.9
# Streams of a bucket up to which Redis may be held up by a recount, and those whose real memory is looked at.
_RECOUNT_MOST: Final = 10_000
_SAMPLE: Final = 5


def limit_bytes(settings: Settings, usage: ByteSums, server: Server) -> int:
    """Return the bytes that all streams may hold: the budget, or less if Redis' own limit leaves less for them."""
    if not server.max_bytes:
        return settings.max_total_bytes
    others = max(server.used_bytes - usage.bytes, 0)
    return min(settings.max_total_bytes, max(server.max_bytes - others, 0))


class Budget:
    """Looks after memory every `budget_s` until cancelled."""

    def __init__(self, store: StoreMaintenance, settings: Settings, metrics: Metrics) -> None:
        self._store = store
        self._settings = settings
        self._metrics = metrics
        self._buckets = cycle(f"{bucket:02x}" for bucket in range(settings.buckets))
        self._tombstones = TombstoneAccounting()
        self._policy = ""
        self._hurry = asyncio.Event()
        self._is_tight = False
        self._is_behind = False
        self._beyond_bytes = 0
        self._recount_at = 0.0
        self._failures = FoldFailures(metrics, of="finished")

    async def run(self) -> None:
        """Two loops, because an eviction cannot wait for everything that is to be folded."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep(self.relieve, self._pause_of_relief))
            group.create_task(self._keep(self.look, self._pause_of_look))

    def hurry(self) -> None:
        """Look now rather than at the next round: the store has just refused something for want of memory."""
        self._hurry.set()

    async def look(self) -> None:
        """One round over everything."""
        await self.tidy()
        await self._look_beyond()
        await self.relieve()
        await self._relieve_tenants()
        if asyncio.get_running_loop().time() >= self._recount_at:
            self._recount_at = asyncio.get_running_loop().time() + self._settings.recount_s
            await self.recount(next(self._buckets))

    async def tidy(self) -> None:
        """Remove finished streams that have expired, fold those that have been over for a while; so many at a time."""
        quiet_ms = round(self._settings.fold_after_s * 1000)
        due = await self._store.maintenance_due(quiet_ms=quiet_ms, limit=_PAGE)
        self._is_behind = len(due) == _PAGE
        for start in range(0, len(due), _BATCH):
            batch = due[start : start + _BATCH]
            replies = await self._evict(batch, "expired")
            await self._fold([each for each, reply in zip(batch, replies, strict=True) if isinstance(reply, Live)])

    async def relieve(self) -> None:
        """Evict when the soft mark is passed, until the settings' share is free."""
        usage, server = await self._store.usage(buckets=self._settings.buckets), await self._store.server()
        usage = replace(usage, bytes=usage.bytes + self._beyond_bytes)
        self._look_at_policy(server)
        self._tombstones.note(asyncio.get_running_loop().time(), usage)
        self._metrics.store_bytes.labels(of="streams").set(usage.bytes)
        usage = replace(usage, bytes=usage.bytes + self._tombstones.tombstone_bytes(self._settings))
        self._metrics.store_bytes.labels(of="store").set(server.used_bytes)
        limit = limit_bytes(self._settings, usage, server)
        self._is_tight = usage.bytes > limit * self._settings.soft_share * _TIGHT_SHARE
        if usage.bytes > limit * self._settings.soft_share:
            freed = await self._free(usage.bytes - round(limit * (1 - self._settings.free_share)))
            logger.warning("memory pressure: %s bytes of finished streams evicted", freed)

    async def _keep(self, care: Callable[[], Awaitable[None]], pause: Callable[[], Awaitable[None]]) -> None:
        while True:
            await pause()
            try:
                await care()
            except StoreError as error:
                logger.warning("memory was not looked after: %s", error)

    async def _pause_of_look(self) -> None:
        most_s = _LEAST_PAUSE_S if self._is_behind else self._settings.budget_s
        await asyncio.sleep(min(most_s, self._settings.budget_s) * random.uniform(0.75, 1.25))

    async def _pause_of_relief(self) -> None:
        most_s = _TIGHT_PAUSE_S if self._is_tight else self._settings.budget_s
        seconds = min(most_s, self._settings.budget_s) * random.uniform(0.75, 1.25)
        await asyncio.sleep(min(seconds, _LEAST_PAUSE_S))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        self._hurry.clear()

    async def _look_beyond(self) -> None:
        """Return the bytes in buckets that new streams do not go into any more, since their number was lowered."""
        buckets = await self._store.usage_by_bucket()
        self._beyond_bytes = sum(
            usage.bytes for bucket, usage in buckets.items() if int(bucket, 16) >= self._settings.buckets
        )

    def _look_at_policy(self, server: Server) -> None:
        """A policy that evicts is refused at the start; but it may have been set since."""
        if server.evicts and server.policy != self._policy and not self._settings.allow_eviction:
            logger.error("Redis evicts keys (maxmemory-policy %s): streams can be lost", server.policy)
        self._policy = server.policy

    async def recount(self, bucket: str) -> None:
        """Correct the sums of a bucket, and compare what is counted for some of its streams with what they take."""
        found = await self._store.recount(bucket, limit=_RECOUNT_MOST)
        if found is not None:
            self._metrics.store_drift_bytes.set(found.drift)
            if found.drift:
                logger.info("the sums of bucket %s were %s bytes off", bucket, found.drift)
        sample = await self._store.eviction_candidates(limit=_SAMPLE)
        counted = sum(each.bytes for each in sample)
        if counted:
            real = [await self._store.footprint(each.id) for each in sample]
            self._metrics.store_real_ratio.set(sum(real) / counted)

    async def _relieve_tenants(self) -> None:
        budget = self._settings.max_tenant_bytes
        if budget is None:
            return
        for tenant, held in (await self._store.tenants()).items():
            if held > budget * self._settings.soft_share:
                await self._free(held - round(budget * (1 - self._settings.free_share)), tenant=tenant)

    async def _free(self, wanted_bytes: int, *, tenant: str | None = None) -> int:
        """Evict finished streams, least recently read first. Answers how many bytes became free."""
        freed, place = 0, None
        while page := await self._store.eviction_candidates(limit=_PAGE, place=place):
            place = page[-1].place
            victims = [each for each in page if is_over(each.status) and tenant in {None, each.tenant}]
            for start in range(0, len(victims), _BATCH):
                batch = _first_of(victims[start : start + _BATCH], wanted_bytes - freed)
                replies = await self._evict([each.id for each in batch], "evicted")
                freed += sum(reply.bytes for reply in replies if isinstance(reply, Evicted))
                if freed >= wanted_bytes:
                    return freed
        return freed

    async def _evict(self, stream_ids: Sequence[str], why: Eviction) -> Sequence[EvictReply | Exception]:
        replies = await self._store.evict(
            stream_ids, why=why, tombstone_ms=self._tombstones.tombstone_ms(self._settings)
        )
        self._metrics.evictions.labels(why=why).inc(sum(isinstance(reply, Evicted) for reply in replies))
        return replies

    async def _fold(self, stream_ids: Sequence[str]) -> None:
        """Fold finished streams completely."""
        while stream_ids:
            calls = [
                Compact(each, "", self._settings.block_bytes, self._settings.max_stream_bytes) for each in stream_ids
            ]
            replies = await self._store.compact(calls)
            pairs = list(zip(stream_ids, replies, strict=True))
            for stream_id, reply in pairs:
                if isinstance(reply, Exception):
                    self._failures.note(stream_id, reply)
            stream_ids = [stream_id for stream_id, reply in pairs if isinstance(reply, Compacted) and reply.more]
            done = sum(isinstance(reply, Compacted) for reply in replies)
            self._metrics.compactions.labels(of="finished").inc(done)
            if done == len(calls):
                self._failures.clear()


def _first_of(victims: Sequence[EvictionCandidate], wanted_bytes: int) -> Sequence[EvictionCandidate]:
    """As many as are needed, so that a batch does not evict more than it has to."""
    for number, victim in enumerate(victims, 1):
        wanted_bytes -= victim.bytes
        if wanted_bytes <= 0:
            return victims[:number]
    return victims
