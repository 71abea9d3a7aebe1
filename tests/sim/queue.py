"""The job queue without arq: a name waits once, a job can be lost, and what a worker had taken dies with it."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from shared.errors import StoreUnavailable
from shared.queue.arq import ArqDispatcher
from shared.queue.workers import WorkerSeen
from tests.sim.network import Link

__all__ = ("Job", "Queue")

_PICK_S = 0.005


@dataclass(frozen=True, slots=True)
class Job:
    stream_id: str
    attempt: int

    @property
    def takeover(self) -> bool:
        return self.attempt > 0


class Queue:
    """Jobs in order. `loss` is the share that never arrives, though whoever dispatched it was told that it did."""

    def __init__(self, chance: random.Random) -> None:
        self.loss = 0.0
        self._chance = chance
        self._jobs: list[Job] = []
        self._arrived = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Queue {len(self._jobs)} jobs>"

    def put(self, job: Job) -> bool:
        if job in self._jobs or self._chance.random() < self.loss:
            return False
        self.put_back(job)
        return True

    def put_back(self, job: Job) -> None:
        self._jobs.append(job)
        self._arrived.set()

    async def take(self, link: Link) -> Job:
        """The next job for this worker; a dead or frozen one takes none."""
        while True:
            await self._arrived.wait()
            # Whoever is first gets it; the dead and the frozen never are.
            await asyncio.sleep(_PICK_S * self._chance.random())
            await link.alive()
            if self._jobs:
                return self._jobs.pop(0)
            self._arrived.clear()

    def dispatcher(self, link: Link) -> ArqDispatcher:
        return cast("ArqDispatcher", _Dispatcher(self, link))


class _Dispatcher:
    """What `ArqDispatcher` offers, over a link."""

    def __init__(self, queue: Queue, link: Link) -> None:
        self._queue = queue
        self._link = link

    async def watch(self) -> None:
        """Nobody has to."""

    async def dispatch(self, stream_id: str, *, tenant: str) -> bool:
        return await self.redispatch(stream_id, attempt=0)

    async def redispatch(self, stream_id: str, *, attempt: int) -> bool:
        return await self._link.ask(self._enqueue, Job(stream_id, attempt))

    async def workers(self) -> Sequence[WorkerSeen]:
        return []

    async def aclose(self) -> None:
        return None

    async def _enqueue(self, job: Job) -> bool:
        if self._link.is_dead:
            raise StoreUnavailable("dead")
        return self._queue.put(job)
