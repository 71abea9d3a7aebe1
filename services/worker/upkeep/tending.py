"""Looks after the queue: frees what is stuck there, and says how long it is.

Jobs of this version are held for seconds. Those of a version that held them for a day, killed, stay in the way of
everybody else; so does what lost its content. Every worker looks, which is one short call each time.
"""

import asyncio
import logging
import random
from typing import NoReturn

from shared.errors import StoreError
from shared.queue.jobs import JobQueue
from shared.settings.settings import Settings
from shared.telemetry.metrics import Metrics

__all__ = ("Tending",)

logger = logging.getLogger(__name__)


class Tending:
    """Tends the queue every `sweep_s`, until cancelled."""

    def __init__(self, queue: JobQueue, settings: Settings, metrics: Metrics) -> None:
        self._queue = queue
        self._settings = settings
        self._metrics = metrics

    async def run(self) -> NoReturn:
        while True:
            try:
                await self.tend()
            except StoreError as error:
                logger.debug("the queue was not tended: %s", error)
            await asyncio.sleep(self._settings.sweep_s * random.uniform(0.75, 1.25))

    async def tend(self) -> None:
        """One look."""
        state = await self._queue.tend()
        for of, jobs in (("queued", state.jobs), ("held", state.held), ("stuck", state.stuck)):
            self._metrics.queue_jobs.labels(of=of).set(jobs)
        self._metrics.queue_wait_seconds.set(state.wait_ms / 1000)
        if state.stuck:
            self._metrics.queue_freed.inc(state.stuck)
            logger.warning("%d jobs were stuck in the queue and are free again", state.stuck)
