"""One worker process: arq brings jobs, everything else is ours. Built here, owned by one exit stack."""

import asyncio
import contextlib
import logging
import os
import secrets
import socket
from collections.abc import AsyncIterator, Iterator, Sequence

from prometheus_client import CollectorRegistry, start_http_server

from services.worker.attempts.job import Jobs
from services.worker.presence import Presence
from services.worker.providers.http.session import new_session
from services.worker.providers.provider import Provider
from services.worker.providers.registry import provider_of
from services.worker.puller import Puller
from services.worker.upkeep.budget import Budget
from services.worker.upkeep.proof import is_admitted
from services.worker.upkeep.sweeper import Sweeper
from services.worker.upkeep.tending import Tending
from services.worker.writing.appender import Appender
from services.worker.writing.cancels import Cancels
from services.worker.writing.compactor import Compactor
from services.worker.writing.leases import LeaseRenewer
from shared.log.keys import Keyspace
from shared.queue.arq import ArqDispatcher, open_queue
from shared.queue.jobs import JobQueue
from shared.queue.workers import Workers, WorkerSeen
from shared.settings.settings import Settings
from shared.signals import heeded
from shared.store.redis.store import open_store
from shared.telemetry.metrics import Metrics

__all__ = ("run",)

logger = logging.getLogger(__name__)


async def run(settings: Settings, *, registry: CollectorRegistry | None = None, version: str = "") -> None:
    """Pull streams until a signal stops it; then finish what can be finished, hand over the rest, and return."""
    stopping = asyncio.Event()
    with heeded(stopping.set):
        async with _worker(settings, registry or CollectorRegistry(), version) as (puller, presence):
            if await is_admitted(puller.store, stopping):
                await presence.announce()
                logger.info("worker ready", extra={"worker": puller.name, "providers": len(settings.providers)})
            await stopping.wait()
            puller.stop()
            await presence.announce()
            await puller.drain()
            await presence.leave()


@contextlib.asynccontextmanager
async def _worker(
    settings: Settings, registry: CollectorRegistry, version: str
) -> AsyncIterator[tuple[Puller, Presence]]:
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
        providers = [provider_of(each, session, environment=os.environ) for each in settings.providers]
        budget = Budget(store, settings, metrics)
        compactor = Compactor(store, settings, metrics, on_full=budget.hurry)
        appender = Appender(store, compactor, settings, metrics)
        cancels = Cancels(store)
        renewer = LeaseRenewer(lambda: open_store(settings), settings)
        renewer.start()
        stack.push_async_callback(renewer.stop)
        dispatcher = ArqDispatcher(queue)
        jobs = Jobs(
            name=name,
            store=store,
            appender=appender,
            renewer=renewer,
            cancels=cancels,
            dispatcher=dispatcher,
            providers_of=lambda model: _serving(providers, model),
            settings=settings,
            metrics=metrics,
        )
        puller = Puller(name, jobs, queue, store, settings)
        sweeper = Sweeper(store, dispatcher, settings)
        keys = Keyspace(settings.prefix)
        tending = Tending(JobQueue(queue, keys), settings, metrics)
        presence = Presence(Workers(queue, keys), lambda: _said(puller, settings, version), metrics)
        group = await stack.enter_async_context(asyncio.TaskGroup())
        parts = (appender, compactor, cancels, sweeper, tending, budget, puller, presence)
        tasks = [group.create_task(part.run()) for part in parts]
        tasks += [group.create_task(store.watch()), group.create_task(dispatcher.watch())]
        yield puller, presence
        for task in tasks:
            task.cancel()


def _said(puller: Puller, settings: Settings, version: str) -> WorkerSeen:
    """Return this worker's report about itself."""
    return WorkerSeen(puller.name, version, puller.streams, settings.max_jobs, draining=not puller.takes_jobs)


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
