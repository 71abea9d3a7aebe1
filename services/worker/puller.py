"""Takes jobs and pulls their streams: arq's worker under supervision, until it drains."""

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from arq.connections import ArqRedis
from arq.worker import Retry, func

from services.worker.attempts.job import Jobs
from services.worker.queue_worker import QueueWorker
from services.worker.room import Room
from services.worker.upkeep.proof import until_proven
from shared.backoff import Backoff, jittered_s
from shared.errors import StoreError
from shared.log.keys import Keyspace
from shared.queue.arq import JOB, deserialize, serialize
from shared.queue.jobs import JobQueue
from shared.settings.settings import Settings
from shared.store.redis.errors import mapping
from shared.store.store import Store

if TYPE_CHECKING:
    from arq.typing import WorkerCoroutine

__all__ = ("Puller",)

logger = logging.getLogger(__name__)

# A job lasts until the claim is answered, which waits for a store that is away. One that takes longer by this is given
# up, and the sweeper finds its stream.
_JOB_MARGIN_S: Final = 30
# The claim is the judge of how often a stream may be tried; a worker that dies or waits for Redis does not count here.
_MOST_TRIES: Final = 1_000_000
_RETRY_S: Final = 0.3
_RESTART_FIRST_S, _RESTART_MOST_S = 0.1, 0.5


class Puller:
    """arq's worker under supervision: it dies of any Redis trouble in its poll loop, and is started again."""

    def __init__(self, name: str, jobs: Jobs, queue: ArqRedis, store: Store, settings: Settings) -> None:
        self.name = name
        self.store = store
        self.is_draining = False
        self._is_proven = False
        self._jobs = jobs
        self._queue = queue
        self._settings = settings
        self._running: set[asyncio.Task[Any]] = set()
        self._begun: dict[str, asyncio.Task[Any]] = {}
        self._worker: QueueWorker | None = None
        self._room = Room(settings.max_jobs)

    @property
    def takes_jobs(self) -> bool:
        return self._is_proven and not self.is_draining

    @property
    def streams(self) -> int:
        """The number of streams that are being pulled."""
        return len(self._running)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            await self._pick(group)

    async def _pick(self, group: asyncio.TaskGroup) -> NoReturn:
        backoff = Backoff(_RESTART_FIRST_S, _RESTART_MOST_S)
        await until_proven(self.store)
        self._is_proven = True
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

    def stop(self) -> None:
        """Take no new jobs."""
        self.is_draining = True
        if self._worker is not None:
            self._worker.allow_pick_jobs = False

    async def drain(self) -> None:
        """Take no new jobs; let running streams finish for a while; then cancel them, which hands them over."""
        self.stop()
        await self._settle()
        logger.info("draining", extra={"streams": self.streams})
        if self._running:
            await asyncio.wait(self._running, timeout=self._settings.worker_drain_s)
        for task in list(self._running):
            task.cancel()
        if self._running:
            await asyncio.wait(self._running, timeout=self._settings.redis_timeout_s)

    async def _settle(self) -> None:
        """Wait until what was taken has been claimed or refused; what cannot be now, others take in a moment."""
        if self._begun:
            await asyncio.wait(self._begun.values(), timeout=_RETRY_S)
        for task in list(self._begun.values()):
            task.cancel()

    def _new_worker(self, group: asyncio.TaskGroup) -> QueueWorker:
        async def take(context: dict[Any, Any], stream_id: str, *, takeover: bool = False) -> None:
            # arq's job is over when the stream is ours or somebody else's. A job as long as its stream would stay in
            # the queue, and every look at the queue would have to look past it.
            decided: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._running.add(group.create_task(self._pull(stream_id, decided, takeover=takeover)))
            try:
                await decided
            except StoreError as error:
                await asyncio.sleep(jittered_s(_RETRY_S))
                raise Retry from error

        keys, timeout_s = Keyspace(self._settings.prefix), self._settings.store_stall_s + _JOB_MARGIN_S
        worker = QueueWorker(
            name=self.name,
            wait_s=self._settings.poll_delay_s,
            room=self._room,
            queue=JobQueue(self._queue, keys),
            keys=keys,
            group=group,
            begun=self._begun,
            functions=[func(cast("WorkerCoroutine", take), name=JOB, timeout=timeout_s, max_tries=_MOST_TRIES)],
            keep_result=0,
            redis_pool=self._queue,
            handle_signals=False,
            job_serializer=serialize,
            job_deserializer=deserialize,
        )
        worker.allow_pick_jobs = not self.is_draining
        return worker

    async def _pull(self, stream_id: str, decided: asyncio.Future[None], *, takeover: bool) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._room.take()
        try:
            await self._jobs.pull(stream_id, takeover=takeover, on_decided=lambda: _settle(decided))
        except StoreError as error:
            logger.warning("pull failed: %s", error, extra={"stream": stream_id})
            _settle(decided, error)
        except Exception:
            # A bug in one stream must not end the others; the sweeper finds the stream when its lease runs out.
            logger.exception("pull failed", extra={"stream": stream_id})
        finally:
            _settle(decided)
            self._running.discard(task)
            self._room.give_back()


def _settle(decided: asyncio.Future[None], error: StoreError | None = None) -> None:
    """Say once how a claim went. Later troubles of the stream are no longer the job's."""
    if decided.done():
        return
    if error is None:
        decided.set_result(None)
    else:
        decided.set_exception(error)
