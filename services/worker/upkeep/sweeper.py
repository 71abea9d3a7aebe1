"""Finds streams that nobody is pulling: their job was lost on the way, or their worker died.

Every worker sweeps. Two sweepers that find the same stream are harmless, because the claim is the lock.
"""

import asyncio
import logging
import random

from shared.errors import StoreError, StoreMisused
from shared.queue.arq import ArqDispatcher
from shared.settings.settings import Settings
from shared.store.state import Meta
from shared.store.store import Store

__all__ = ("Sweeper",)

logger = logging.getLogger(__name__)

_MOST = 500
_MOST_REMEMBERED = 10_000
# What a worker needs to find the store again and to take its streams back.
_REVIVAL_S = 1.5


class Sweeper:
    """Dispatches what is due again, until cancelled."""

    def __init__(self, store: Store, dispatcher: ArqDispatcher, settings: Settings) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._settings = settings
        self._broken: set[str] = set()
        self._troubled_until = 0.0
        # By stream, until when it is left alone. What waits for room is due at every look, and would hide the others.
        self._waiting: dict[str, float] = {}

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.sweep_s * random.uniform(0.75, 1.25))
            try:
                await self.sweep()
            except StoreError as error:
                logger.warning("sweep failed: %s", error)
                # Leases ran out because nobody could renew them. The owners of the streams come first, with a renewal.
                self._troubled_until = _now() + self._settings.heartbeat_s + _REVIVAL_S

    async def sweep(self) -> int:
        """One look. Answers how many streams were dispatched again."""
        self._forget_past()
        found = await self._store.due(limit=_MOST + len(self._waiting))
        dispatched = 0
        for stream_id in found:
            if stream_id not in self._waiting:
                dispatched += await self._look_at(stream_id)
        return dispatched

    def _forget_past(self) -> None:
        now = _now()
        self._waiting = {stream_id: until for stream_id, until in self._waiting.items() if until > now}

    def _leave_alone(self, stream_id: str) -> None:
        """For a lease, as nobody can claim it and lose it again in less. Then a job that was lost as well is missed."""
        if len(self._waiting) < _MOST_REMEMBERED:
            self._waiting[stream_id] = _now() + self._settings.lease_s

    async def _look_at(self, stream_id: str) -> bool:
        try:
            meta = await self._store.meta(stream_id)
        except StoreMisused as error:
            self._leave_alone(stream_id)
            self._tell_broken(stream_id, error)
            return False
        if meta is None:
            await self._store.forget(stream_id)
        if meta is None or meta.is_over or (meta.attempt and self._is_troubled()):
            return False
        is_new = await self._dispatch(meta)
        self._leave_alone(stream_id)
        return is_new

    async def _dispatch(self, meta: Meta) -> bool:
        if meta.attempt:
            is_new = await self._dispatcher.redispatch(meta.id, attempt=meta.attempt)
        else:
            is_new = await self._dispatcher.dispatch(meta.id, tenant=meta.tenant)
        if is_new:
            logger.info("dispatched again", extra={"stream": meta.id, "attempt": meta.attempt})
        return is_new

    def _tell_broken(self, stream_id: str, error: StoreMisused) -> None:
        """Once for each stream: it stays due until somebody mends or removes it, and the others are looked after."""
        if stream_id not in self._broken:
            self._broken.add(stream_id)
            logger.error("a stream cannot be looked after: %s", error.message, extra={"stream": stream_id})

    def _is_troubled(self) -> bool:
        return _now() < self._troubled_until


def _now() -> float:
    return asyncio.get_running_loop().time()
