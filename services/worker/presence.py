"""This worker says every second that it is there, so that others can say when nobody is."""

import asyncio
import logging
from collections.abc import Callable
from typing import Final, NoReturn

from shared.errors import StoreError
from shared.queue.workers import ANNOUNCE_S, Workers, WorkerSeen
from shared.telemetry.metrics import Metrics

__all__ = ("Presence",)

logger = logging.getLogger(__name__)

# Whoever starts or stops does not wait longer for a queue that is away.
_ANSWER_S: Final = 1.0


class Presence:
    """Announces what `said` answers, until cancelled: on the loop that takes jobs, as one that hangs is not there."""

    def __init__(self, workers: Workers, said: Callable[[], WorkerSeen], metrics: Metrics) -> None:
        self._workers = workers
        self._said = said
        self._metrics = metrics

    async def run(self) -> NoReturn:
        while True:
            await self.announce()
            await asyncio.sleep(ANNOUNCE_S)

    async def announce(self) -> None:
        """Say it once. A queue that is away is not asked twice: whoever takes jobs complains of it."""
        said = self._said()
        self._metrics.worker_streams.set(said.jobs)
        try:
            async with asyncio.timeout(_ANSWER_S):
                self._metrics.workers.set(await self._workers.announce(said))
        except (StoreError, TimeoutError) as error:
            logger.debug("not announced: %s", error)

    async def leave(self) -> None:
        """Be gone at once rather than in a few seconds."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                await self._workers.leave(self._said().id)
        except (StoreError, TimeoutError) as error:
            logger.debug("still announced: %s", error)
