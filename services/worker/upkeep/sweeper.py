"""Finds streams that nobody is pulling: their job was lost on the way, or their worker died.

Every worker sweeps. Two sweepers that find the same stream are harmless, because the claim is the lock.
"""

import asyncio
import logging
import random

from shared.errors import StoreError, StoreMisused
from shared.queue.arq import ArqDispatcher
from shared.settings.settings import Settings
from shared.store.store import Store

__all__ = ("Sweeper",)

logger = logging.getLogger(__name__)

_MOST = 500
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

    async def run(self) -> None:
        while True:
            await asyncio.sleep(self._settings.sweep_s * random.uniform(0.75, 1.25))
            try:
                await self.sweep()
            except StoreError as error:
                logger.warning("sweep failed: %s", error)
                # Leases ran out because nobody could renew them. Who holds the streams comes first, with its next beat.
                self._troubled_until = asyncio.get_running_loop().time() + self._settings.heartbeat_s + _REVIVAL_S

    async def sweep(self) -> int:
        """One look. Answers how many streams were dispatched again."""
        found = await self._store.due(limit=_MOST)
        for stream_id in found:
            try:
                await self._look_at(stream_id)
            except StoreMisused as error:
                self._tell_broken(stream_id, error)
        return len(found)

    async def _look_at(self, stream_id: str) -> None:
        meta = await self._store.meta(stream_id)
        if meta is None:
            await self._store.forget(stream_id)
        elif not meta.is_over and not (meta.attempt and self._is_troubled()):
            # One round for each lease that ran out: sweepers that see the same one name the same job.
            round_ = f"{meta.attempt}.{meta.lease_ms}.{self._window()}"
            await self._dispatcher.redispatch(stream_id, round_=round_, takeover=meta.attempt > 0)
            logger.info("dispatched again", extra={"stream": stream_id, "attempt": meta.attempt})

    def _tell_broken(self, stream_id: str, error: StoreMisused) -> None:
        """Once for each stream: it stays due until somebody mends or removes it, and the others are looked after."""
        if stream_id not in self._broken:
            self._broken.add(stream_id)
            logger.error("a stream cannot be looked after: %s", error.message, extra={"stream": stream_id})

    def _is_troubled(self) -> bool:
        return asyncio.get_running_loop().time() < self._troubled_until

    def _window(self) -> int:
        """A new job name every lease time, should the job of this round have been lost as well."""
        return int(asyncio.get_running_loop().time() / self._settings.lease_s)
