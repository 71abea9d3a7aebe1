"""arq's worker, woken by a bell instead of a clock."""

import asyncio
import logging
from typing import Any, Final, NoReturn, cast

from arq.connections import ArqRedis
from arq.typing import WorkerCoroutine
from arq.worker import Worker, func

from services.worker.attempts.job import Jobs
from services.worker.upkeep.proof import until_proven
from shared.backoff import Backoff
from shared.errors import StoreError
from shared.queue.arq import JOB, bell_name, deserialize, queue_name, serialize
from shared.settings.settings import Settings
from shared.store.redis.errors import mapping
from shared.store.store import Store

__all__ = ("QueueWorker",)


class QueueWorker(Worker):
    """Looks at the queue when the bell rings, and every `wait_s` in case it did not.

    While there is no `room`, or it may not pick jobs, it leaves bell and queue to the other workers. `has_looked` says
    whether it has ever reached the queue.
    """

    def __init__(self, *, wait_s: float, room: asyncio.Semaphore, **options: Any) -> None:
        super().__init__(poll_delay=0, **options)
        self._wait_s = wait_s
        self._room = room
        self.has_looked = False

    async def _poll_iteration(self) -> None:
        async with self._room:
            pass  # only to know that there is some
        if not self.allow_pick_jobs:
            await asyncio.sleep(self._wait_s)
        elif self.has_looked:
            await self._wait_for_bell()
        await super()._poll_iteration()
        self.has_looked = True

    async def _wait_for_bell(self) -> None:
        bell = bell_name(self.queue_name)
        rang = await self.pool.execute_command("BLPOP", bell, self._wait_s)  # type: ignore[no-untyped-call]
        if rang and not self.allow_pick_jobs:
            # It rang for us while we were told to stop: pass it on, or the job would wait for somebody's next look.
            await self.pool.execute_command("LPUSH", bell, 1)  # type: ignore[no-untyped-call]


# arq's own limit on a job. The provider's deadlines end a stream long before.
_JOB_TIMEOUT_S: Final = 24 * 3600


_RESTART_FIRST_S, _RESTART_MOST_S = 0.2, 1.0


logger = logging.getLogger(__name__)


class Puller:
    """arq's worker under supervision: it dies of any Redis trouble in its poll loop, and is started again."""

    def __init__(self, name: str, jobs: Jobs, queue: ArqRedis, store: Store, settings: Settings) -> None:
        self.name = name
        self.store = store
        self._jobs = jobs
        self._queue = queue
        self._settings = settings
        self._running: set[asyncio.Task[Any]] = set()
        self._worker: QueueWorker | None = None
        self._room = asyncio.Semaphore(settings.max_jobs)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            await self._pick(group)

    async def _pick(self, group: asyncio.TaskGroup) -> NoReturn:
        backoff = Backoff(_RESTART_FIRST_S, _RESTART_MOST_S)
        await until_proven(self.store)
        while True:
            self._worker = worker = self._new_worker(group)
            try:
                with mapping():
                    await worker.async_run()
            except StoreError as error:
                if worker.has_looked:
                    backoff.reset()
                logger.warning("the queue cannot be reached: %s", error)
            await asyncio.sleep(backoff.next_s())

    async def drain(self) -> None:
        """Take no new jobs; let running streams finish for a while; then cancel them, which hands them over."""
        if self._worker is not None:
            self._worker.allow_pick_jobs = False
        logger.info("draining", extra={"streams": len(self._running)})
        if self._running:
            await asyncio.wait(self._running, timeout=self._settings.worker_drain_s)
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=self._settings.redis_timeout_s)

    def _new_worker(self, group: asyncio.TaskGroup) -> QueueWorker:
        async def take(context: dict[Any, Any], stream_id: str, *, takeover: bool = False) -> None:
            # arq's job is over when the stream is in our hands. arq asks Redis about every unfinished job at each look
            # at its queue, on every worker; with a thousand long streams it would do nothing else.
            await self._room.acquire()
            self._running.add(group.create_task(self._pull(stream_id, takeover=takeover)))

        return QueueWorker(
            wait_s=self._settings.poll_delay_s,
            room=self._room,
            functions=[
                func(cast("WorkerCoroutine", take), name=JOB, keep_result=0, timeout=_JOB_TIMEOUT_S, max_tries=1)
            ],
            redis_pool=self._queue,
            queue_name=queue_name(self._settings.prefix),
            max_jobs=self._settings.max_jobs,
            handle_signals=False,
            job_serializer=serialize,
            job_deserializer=deserialize,
            health_check_interval=60,
        )

    async def _pull(self, stream_id: str, *, takeover: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await self._jobs.pull(stream_id, takeover=takeover)
        except StoreError as error:
            # Not ours to retry: whatever the claim did or did not do, the sweeper sees.
            logger.warning("pull failed: %s", error, extra={"stream": stream_id})
        except Exception:
            # A bug in one stream must not end the others; the sweeper finds the stream when its lease runs out.
            logger.exception("pull failed", extra={"stream": stream_id})
        finally:
            self._running.discard(task)
            self._room.release()
