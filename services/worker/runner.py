"""One worker process: arq brings jobs, everything else is ours. Built here, owned by one exit stack."""

import asyncio
import contextlib
import logging
import os
import random
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final, NoReturn, cast

from arq.connections import ArqRedis
from arq.worker import func
from prometheus_client import CollectorRegistry, start_http_server

from services.worker.appender import Appender
from services.worker.budget import Budget
from services.worker.cancels import Cancels
from services.worker.compactor import Compactor
from services.worker.dispatcher import JOB, ArqDispatcher, deserialize, open_queue, queue_name, serialize
from services.worker.heart import Heart
from services.worker.http import new_session
from services.worker.job import Jobs
from services.worker.openai import OpenAIProvider
from services.worker.picker import Picker
from services.worker.provider import Provider
from services.worker.sweeper import Sweeper
from shared.errors import StoreError
from shared.keys import Keyspace
from shared.redis_client import open_client
from shared.redis_errors import mapping
from shared.redis_store import RedisStore
from shared.settings import Settings
from shared.telemetry import Metrics

if TYPE_CHECKING:
    from arq.typing import WorkerCoroutine

__all__ = ("open_store", "run")

logger = logging.getLogger(__name__)

# arq's own limit on a job. The provider's deadlines end a stream long before.
_JOB_TIMEOUT_S: Final = 24 * 3600
_RESTART_FIRST_S, _RESTART_MOST_S = 0.2, 1.0


def open_store(settings: Settings) -> RedisStore:
    """The store that these settings name. Nothing is connected yet."""
    return RedisStore(open_client(settings.redis_url, timeout_s=settings.redis_timeout_s), Keyspace(settings.prefix))


async def run(settings: Settings, *, registry: CollectorRegistry | None = None) -> None:
    """Pull streams until SIGTERM or SIGINT; then finish what can be finished, hand over the rest, and return."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    async with _worker(settings, registry or CollectorRegistry()) as puller:
        logger.info("worker ready", extra={"worker": puller.name, "providers": len(settings.providers)})
        await stopping.wait()
        await puller.drain()


class _Puller:
    """arq's worker under supervision: it dies of any Redis trouble in its poll loop, and is started again."""

    def __init__(self, name: str, jobs: Jobs, queue: ArqRedis, settings: Settings) -> None:
        self.name = name
        self._jobs = jobs
        self._queue = queue
        self._settings = settings
        self._running: set[asyncio.Task[Any]] = set()
        self._worker: Picker | None = None
        self._room = asyncio.Semaphore(settings.max_jobs)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            await self._pick(group)

    async def _pick(self, group: asyncio.TaskGroup) -> NoReturn:
        pause_s = 0.0
        while True:
            self._worker = worker = self._new_worker(group)
            try:
                with mapping():
                    await worker.async_run()
            except StoreError as error:
                paused_s = 0.0 if worker.has_looked else pause_s
                pause_s = min(max(2 * paused_s, _RESTART_FIRST_S), _RESTART_MOST_S)
                logger.warning("the queue cannot be reached: %s", error)
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))

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

    def _new_worker(self, group: asyncio.TaskGroup) -> Picker:
        async def take(context: dict[Any, Any], stream_id: str, *, takeover: bool = False) -> None:
            # arq's job is over when the stream is in our hands. arq asks Redis about every unfinished job at each look
            # at its queue, on every worker; with a thousand long streams it would do nothing else.
            await self._room.acquire()
            self._running.add(group.create_task(self._pull(stream_id, takeover=takeover)))

        return Picker(
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


@contextlib.asynccontextmanager
async def _worker(settings: Settings, registry: CollectorRegistry) -> AsyncIterator[_Puller]:
    metrics = Metrics.on(registry)
    name = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(2)}"
    logging.getLogger("arq").setLevel(logging.WARNING)
    async with contextlib.AsyncExitStack() as stack:
        if settings.worker_metrics_port is not None:
            stack.enter_context(_serving_metrics(settings.worker_metrics_host, settings.worker_metrics_port, registry))
        store = open_store(settings)
        stack.push_async_callback(store.aclose)
        url = settings.queue_url or settings.redis_url
        queue = open_queue(url, prefix=settings.prefix, timeout_s=settings.redis_timeout_s)
        stack.push_async_callback(queue.aclose, close_connection_pool=True)
        session = await stack.enter_async_context(new_session())
        providers = [OpenAIProvider(each, session, environment=os.environ) for each in settings.providers]
        budget = Budget(store, settings, metrics)
        compactor = Compactor(store, settings, metrics, on_full=budget.hurry)
        appender = Appender(store, compactor, settings, metrics)
        cancels = Cancels(store)
        heart = Heart(lambda: open_store(settings), settings)
        heart.start()
        stack.push_async_callback(heart.stop)
        dispatcher = ArqDispatcher(queue)
        jobs = Jobs(
            name=name,
            store=store,
            appender=appender,
            heart=heart,
            cancels=cancels,
            dispatcher=dispatcher,
            providers_of=lambda model: _serving(providers, model),
            settings=settings,
            metrics=metrics,
        )
        puller = _Puller(name, jobs, queue, settings)
        sweeper = Sweeper(store, dispatcher, settings)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        tasks = [group.create_task(part.run()) for part in (appender, compactor, cancels, sweeper, budget, puller)]
        yield puller
        for task in tasks:
            task.cancel()


@contextlib.contextmanager
def _serving_metrics(host: str, port: int, registry: CollectorRegistry) -> Iterator[None]:
    """Prometheus' own small server, in a thread: a scrape must not wait for a busy loop. Raises `OSError`."""
    server, thread = start_http_server(port, host, registry)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _serving(providers: Sequence[Provider], model: str) -> Sequence[Provider]:
    return [provider for provider in providers if provider.settings.serves(model)]
