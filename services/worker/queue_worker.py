"""arq's worker, woken by a bell instead of a clock, that takes no more jobs than it has room for.

Everything of arq that is not documented is used here and nowhere else: `_poll_iteration`, `tasks`, `run_job`. Read and
checked with arq 0.28.0; a test compares the version. What arq does by itself at each look at its queue is left out:
it takes five times `max_jobs` whatever room there is, holds them as long as the longest job may last (24 h for us),
asks Redis three times about each job that somebody holds, and judges by its own clock which jobs are due.
"""

import asyncio
import logging
from typing import Any, Final

from arq.worker import Worker

from services.worker.room import Room
from shared.errors import StoreError
from shared.log.keys import Keyspace
from shared.queue.jobs import Job, JobQueue
from shared.store.redis.errors import mapping

__all__ = ("CHECKED_WITH", "QueueWorker")

logger = logging.getLogger(__name__)

CHECKED_WITH: Final = "0.28"
# Jobs that were taken and are not claimed yet. Few, so that a burst goes to all workers that have room, and so that
# few are lost for a while with a worker that dies just then.
_MOST_AT_ONCE: Final = 16
# An answer about the queue that takes longer than this will not come: the connection is given up and another one made.
_ANSWER_S: Final = 1.0


class QueueWorker(Worker):
    """Looks at the queue when the bell rings, and every `wait_s` in case it did not. Jobs run in `group`.

    While there is no `room`, or it may not pick jobs, it leaves bell and queue to the other workers. `has_looked` says
    whether it has ever reached the queue. `begun` are the jobs of this process that are not done, also those that
    an earlier one took.
    """

    def __init__(
        self,
        *,
        name: str,
        wait_s: float,
        room: Room,
        queue: JobQueue,
        keys: Keyspace,
        group: asyncio.TaskGroup,
        begun: dict[str, asyncio.Task[Any]],
        **options: Any,
    ) -> None:
        super().__init__(poll_delay=0, queue_name=keys.queue, **options)
        self.tasks = begun
        self.has_looked = False
        self._name = name
        self._wait_s = wait_s
        self._room = room
        self._queue = queue
        self._bell = keys.bell
        self._group = group
        self._may_be_more = True

    async def _poll_iteration(self) -> None:
        most = await self._until_room()
        if self.allow_pick_jobs and not self._may_be_more:
            await self._wait_for_bell()
        if self.allow_pick_jobs:
            await self._pick(most)
        else:
            await asyncio.sleep(self._wait_s)

    async def _until_room(self) -> int:
        """Wait until jobs may be taken, and return how many, at least one: each that was begun may want a place."""
        while True:
            await self._room.some()
            most = min(self._room.free, _MOST_AT_ONCE) - len(self.tasks)
            if most > 0:
                return most
            await asyncio.wait(self.tasks.values(), return_when=asyncio.FIRST_COMPLETED)

    async def _pick(self, most: int) -> None:
        async with asyncio.timeout(_ANSWER_S):
            # What an earlier look brought whose answer never came is held by us; nobody else takes it for a while.
            jobs = await self._queue.take(self._name, most=most, again=not self.has_looked)
        self.has_looked = True
        self._may_be_more = len(jobs) == most
        for job in jobs:
            if job.name not in self.tasks:
                self._begin(job)

    def _begin(self, job: Job) -> None:
        task = self.tasks[job.name] = self._group.create_task(self._run(job))
        task.add_done_callback(lambda _: self.tasks.pop(job.name))

    async def _run(self, job: Job) -> None:
        try:
            with mapping():
                await self.run_job(job.name, job.turn)
        except StoreError as error:
            # The job is still there, and free again when our hold ends.
            logger.warning("job %s: the queue cannot be reached: %s", job.name, error)
        except Exception:
            # A bug in arq or for one job must not end all streams of this worker.
            logger.exception("job %s failed", job.name)

    async def _wait_for_bell(self) -> None:
        async with asyncio.timeout(self._wait_s + _ANSWER_S):
            rang = await self.pool.execute_command("BLPOP", self._bell, self._wait_s)  # type: ignore[no-untyped-call]
        if rang and not self.allow_pick_jobs:
            # It rang for us while we were told to stop: pass it on, or the job would wait for somebody's next look.
            await self.pool.execute_command("LPUSH", self._bell, 1)  # type: ignore[no-untyped-call]
