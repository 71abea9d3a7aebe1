"""Admission of new streams by memory. No create scans: sums are sampled, and what was admitted since is added."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from shared.errors import MemoryPressure
from shared.settings.settings import Settings
from shared.store.accounting import TombstoneAccounting, request_room_bytes, share_bytes
from shared.store.store import StoreMaintenance

__all__ = ("Admission", "come_again")

# How old a sample may be, and how old near the budget. In between every admitted stream counts with its request and the
# share of its keys, but what is written meanwhile does not.
_SAMPLE_S, _FRESH_SAMPLE_S = 1.0, 0.1
# What may be let in before the next sample, as a share of a budget. Other edges do not see it in theirs, nor we what
# they let in: with samples by age alone, three edges filled 1.8 times a budget of 96 MiB within a second.
_UNSEEN_SHARE: Final = 1 / 256
# Share of a budget that new streams may fill: those that are live already need the rest to go on.
_SHARE: Final = 0.9
_RETRY_FIRST_S, _RETRY_MOST_S = 1.0, 3.0
# Tenants whose bytes are remembered; only asked for where a tenant's budget is set.
_TENANTS: Final = 1000


@dataclass(slots=True)
class _Sample:
    """The last sums from Redis, and the bytes let in since. `coming_bytes` of it may not have been there yet."""

    taken_at: float = float("-inf")
    held_bytes: int = 0
    let_in_bytes: int = 0
    coming_bytes: int = 0

    @property
    def bytes(self) -> int:
        return self.held_bytes + self.let_in_bytes

    async def renew(self, look: Awaitable[int]) -> None:
        coming_bytes = self.coming_bytes  # what arrives during the look may have been too late for it
        held_bytes = await look
        self.taken_at, self.held_bytes, self.let_in_bytes = _now(), held_bytes + coming_bytes, 0


class Admission:
    """Admits new streams within the byte budgets of all and of their tenant."""

    def __init__(self, store: StoreMaintenance, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._all = _Sample()
        self._tombstones = TombstoneAccounting()
        self._tenants: dict[str, _Sample] = {}
        self._sampling = asyncio.Lock()

    def __repr__(self) -> str:
        return f"<Admission {self._all.bytes} bytes tenants={len(self._tenants)}>"

    @asynccontextmanager
    async def admitted(self, tenant: str, request_bytes: int) -> AsyncIterator[None]:
        """Room for a stream that is created within. Raises `MemoryPressure`, which says when to come again."""
        wanted = request_room_bytes(request_bytes) + share_bytes(folded=0, is_fully_folded=False)
        async with self._sampling:  # one look for all that come at once
            samples = [(await self._sampled(), self._settings.max_total_bytes)]
            if self._settings.max_tenant_bytes is not None:
                samples.append((await self._sampled_tenant(tenant), self._settings.max_tenant_bytes))
        if any(sample.bytes + wanted > budget * _SHARE for sample, budget in samples):
            raise come_again()
        for sample, _ in samples:
            sample.let_in_bytes += wanted
            sample.coming_bytes += wanted
        try:
            yield
        finally:
            for sample, _ in samples:
                sample.coming_bytes -= wanted

    async def _sampled(self) -> _Sample:
        if self._is_old(self._all, self._settings.max_total_bytes):
            await self._all.renew(self._held_bytes())
        return self._all

    async def _held_bytes(self) -> int:
        # New streams go into these buckets only. If there were more once, the evictors still count them.
        usage = await self._store.usage(buckets=self._settings.buckets)
        self._tombstones.note(_now(), usage)
        return usage.bytes + self._tombstones.tombstone_bytes(self._settings)

    async def _sampled_tenant(self, tenant: str) -> _Sample:
        found = self._tenants.get(tenant)
        if found is None:
            if len(self._tenants) >= _TENANTS:
                self._tenants.clear()
            found = self._tenants[tenant] = _Sample()
        if self._is_old(found, self._settings.max_tenant_bytes or self._settings.max_total_bytes):
            await found.renew(self._store.tenant_bytes(tenant))
        return found

    def _is_old(self, sample: _Sample, budget: int) -> bool:
        is_near = sample.bytes > budget * self._settings.soft_share * (1 - self._settings.free_share)
        is_aged = _now() - sample.taken_at > (_FRESH_SAMPLE_S if is_near else _SAMPLE_S)
        return is_aged or sample.let_in_bytes > budget * _UNSEEN_SHARE


def _now() -> float:
    return asyncio.get_running_loop().time()


def come_again(message: str | None = None) -> MemoryPressure:
    """A refusal for now. Not all who get it at once come again at once."""
    return MemoryPressure(message, retry_after_s=random.uniform(_RETRY_FIRST_S, _RETRY_MOST_S))
