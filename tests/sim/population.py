"""Who is in a simulation: a store and the ways to it, a queue, a provider, and any number of workers and edges."""

import asyncio
import random
from functools import cache
from typing import Any

from prometheus_client import CollectorRegistry

from services.worker.providers.provider import Provider
from shared.settings.providers import ProviderSettings
from shared.settings.settings import Settings
from shared.store.state import Meta
from shared.telemetry.metrics import Metrics
from tests.sim.edge import SimEdge
from tests.sim.network import Network
from tests.sim.provider import SimProvider
from tests.sim.queue import Queue
from tests.sim.schedule import Schedule
from tests.sim.worker import SimWorker
from tests.support.history import History

__all__ = ("Population",)


class Population:
    """Everybody, the dead included. `streams` are the ids of those that were created."""

    def __init__(self, loop: asyncio.AbstractEventLoop, schedule: Schedule) -> None:
        self.settings = _settings(schedule.max_stream_bytes)
        self.history = History(lambda: round(loop.time() * 1e9))
        self.streams: list[str] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self._loop = loop
        self._chance = random.Random(schedule.seed)
        self.network = Network(loop, self.own_chance(), delay_s=schedule.delay_s)
        self.queue = Queue(self.own_chance())
        self.provider = SimProvider(
            self.settings.providers[0], self.own_chance(), pace_s=schedule.pace_s, failing=schedule.provider_failing
        )
        self._workers: list[SimWorker] = []
        self._edges: list[SimEdge] = []

    def __repr__(self) -> str:
        return f"<Population {len(self._workers)} workers, {len(self._edges)} edges, {len(self.streams)} streams>"

    def start_worker(self) -> None:
        # Two names for one provider: what one has begun the other can continue.
        providers: list[Provider] = [self.provider, self.provider]
        link = self.network.link(f"worker-{len(self._workers) + 1}")
        worker = SimWorker(link, self.queue, providers, settings=self.settings, metrics=_metrics())
        self._workers.append(worker)
        self.tasks.append(self._loop.create_task(worker.run()))

    def start_edge(self) -> None:
        link = self.network.link(f"edge-{len(self._edges) + 1}")
        edge = SimEdge(link, self.queue, self.own_chance(), settings=self.settings, metrics=_metrics())
        self._edges.append(edge)
        self.tasks.append(self._loop.create_task(edge.run()))

    def living_workers(self) -> list[SimWorker]:
        return [worker for worker in self._workers if not worker.link.is_dead]

    def open_edges(self) -> list[SimEdge]:
        return [edge for edge in self._edges if not edge.link.is_dead and not edge.streams.is_draining]

    def meta(self, stream_id: str) -> Meta | None:
        """What the store itself holds, whoever can reach it."""
        return self.network.store.streams.meta(stream_id)

    def own_chance(self) -> random.Random:
        """A source of chance for one of them, so that what one does leaves the others' luck alone."""
        return random.Random(self._chance.random())


@cache
def _settings(max_stream_bytes: int) -> Settings:
    """Everything a hundred times as often as in the world, or a schedule would need too many steps."""
    provider = ProviderSettings(name="sim", base_url="http://sim", models=["scripted"], continuation="prefill")
    return Settings(
        lease_s=3,
        heartbeat_s=0.8,
        sweep_s=0.5,
        dispatch_s=1,
        max_attempts=12,
        provider_tries=8,
        store_stall_s=8,
        worker_drain_s=0.5,
        edge_drain_s=1,
        tail_pace_s=0.03,
        send_timeout_s=5,
        retry_ms=50,
        max_stream_bytes=max_stream_bytes,
        fold_bytes=100,
        block_bytes=400,
        fold_after_s=0.5,
        budget_s=0.7,
        recount_s=5,
        providers=[provider],
    )


@cache
def _metrics() -> Metrics:
    """One set for all schedules: registering takes longer than a simulation."""
    return Metrics.on(CollectorRegistry())
