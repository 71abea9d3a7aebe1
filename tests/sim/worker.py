"""A worker without its process: real jobs, appender, sweeper, leases and so on, on a link that can die or freeze."""

import asyncio
import logging
from collections.abc import Sequence

from services.worker.attempts.job import Jobs
from services.worker.providers.provider import Provider
from services.worker.upkeep.budget import Budget
from services.worker.upkeep.sweeper import Sweeper
from services.worker.writing.appender import Appender
from services.worker.writing.cancels import Cancels
from services.worker.writing.compactor import Compactor
from services.worker.writing.leases import LeaseRenewer
from shared.errors import StoreError
from shared.queue.arq import ArqDispatcher
from shared.settings.settings import Settings
from shared.telemetry.metrics import Metrics
from tests.sim.network import Link
from tests.sim.queue import Queue

__all__ = ("SimWorker",)

logger = logging.getLogger(__name__)


class SimWorker:
    """Runs until it is killed; nothing it does afterwards reaches anybody."""

    def __init__(
        self, link: Link, queue: Queue, providers: Sequence[Provider], *, settings: Settings, metrics: Metrics
    ) -> None:
        self.link = link
        self._queue = queue
        self._settings = settings
        self._is_draining = False
        self._pulls: set[asyncio.Task[None]] = set()
        self._compactor = Compactor(link.store, settings, metrics)
        self._appender = Appender(link.store, self._compactor, settings, metrics)
        self._cancels = Cancels(link.store)
        self._renewer = _LoopRenewer(lambda: link.store, settings)
        dispatcher: ArqDispatcher = queue.dispatcher(link)
        self._sweeper = Sweeper(link.store, dispatcher, settings)
        self._budget = Budget(link.store, settings, metrics)
        self._jobs = Jobs(
            name=link.name,
            store=link.store,
            appender=self._appender,
            renewer=self._renewer,
            cancels=self._cancels,
            dispatcher=dispatcher,
            providers_of=lambda model: providers,
            settings=settings,
            metrics=metrics,
        )

    def __repr__(self) -> str:
        return f"<SimWorker {self.link.name}>"

    async def run(self) -> None:
        self._renewer.start()
        async with asyncio.TaskGroup() as group:
            for part in (self._appender, self._compactor, self._cancels, self._sweeper, self._renewer):
                group.create_task(part.run())
            while True:
                job = await self._queue.take(self.link)
                if self._is_draining:
                    self._queue.put_back(job)
                    await asyncio.get_running_loop().create_future()
                task = group.create_task(self._pull(job.stream_id, takeover=job.takeover))
                self._pulls.add(task)
                task.add_done_callback(self._pulls.discard)

    def drain(self) -> None:
        """SIGTERM whose time for running streams is up: they are handed over."""
        self._is_draining = True
        for task in list(self._pulls):
            task.cancel()

    async def _pull(self, stream_id: str, *, takeover: bool) -> None:
        try:
            await self._jobs.pull(stream_id, takeover=takeover)
        except StoreError as error:
            logger.info("pull failed: %s", error)


class _LoopRenewer(LeaseRenewer):
    """The renewer's own renewals and judgement, as a task: a thread would have a time of its own."""

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        store = self._open_store()
        pause_s = self._settings.heartbeat_s
        while True:
            await asyncio.sleep(pause_s)
            pause_s = self._settings.heartbeat_s if await self._renew(store) else self._settings.heartbeat_s / 4
