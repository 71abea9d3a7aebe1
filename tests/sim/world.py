"""One schedule from its beginning to its end: workers, edges, readers and faults in one loop of virtual time."""

import asyncio
import contextlib
import random
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import cache
from typing import Any
from unittest import mock

import orjson
from prometheus_client import CollectorRegistry

from services.edge.reader import Reader
from services.edge.schemas import CreateStream
from services.worker.provider import Provider
from shared.errors import Draining, MemoryPressure, StoreError, TailraceError
from shared.memory_streams import Moment
from shared.position import START
from shared.settings import ProviderSettings, Settings
from shared.telemetry import Metrics
from tests.sim.client import SimClient
from tests.sim.clockwork import VirtualLoop
from tests.sim.edge import CALLER, SimEdge
from tests.sim.network import Network
from tests.sim.provider import SimProvider
from tests.sim.queue import Queue
from tests.sim.schedule import Planned, Schedule, StreamPlan
from tests.sim.worker import SimWorker
from tests.support.history import Asked, Created, History, Logged, Record, Removed, Struck

__all__ = ("simulate",)

# After the last fault everything has to come to its end within this time, or never will.
_PATIENCE_S = 60.0
_EVERYTHING = 1_000_000
_REPLACED_AFTER_S = 0.5
_PLENTY_BYTES = 1_000_000


def simulate(schedule: Schedule) -> Sequence[Record]:
    """The history of a schedule. The same schedule gives the same history, but for the order within one instant."""
    loop = VirtualLoop()
    with _made_up(loop, schedule.seed):
        try:
            return loop.run_until_complete(_World(loop, schedule).run())
        finally:
            loop.close()


class _World:
    def __init__(self, loop: VirtualLoop, schedule: Schedule) -> None:
        self._loop = loop
        self._schedule = schedule
        self._settings = _settings(schedule.max_stream_bytes)
        self._chance = random.Random(schedule.seed)
        self._network = Network(loop, self._own_chance(), delay_s=schedule.delay_s)
        self._queue = Queue(self._own_chance())
        self._history = History(lambda: round(loop.time() * 1e9))
        self._provider = SimProvider(
            self._settings.providers[0], self._own_chance(), pace_s=schedule.pace_s, failing=schedule.provider_failing
        )
        self._workers: list[SimWorker] = []
        self._edges: list[SimEdge] = []
        self._streams: list[str] = []
        self._tasks: list[asyncio.Task[Any]] = []
        self._clients: list[asyncio.Task[Any]] = []
        self._names = 0
        self._losses = 0

    async def run(self) -> Sequence[Record]:
        for _ in range(self._schedule.workers):
            self._start_worker()
        for _ in range(self._schedule.edges):
            self._start_edge()
        self._network.loss = self._schedule.loss
        makers = [self._loop.create_task(self._make(plan)) for plan in self._schedule.streams]
        await self._strike()
        self._network.loss = 0.0
        try:
            await self._to_the_end(makers)
        finally:
            await self._stop()
        self._write_down()
        return self._history.records

    # Faults

    async def _strike(self) -> None:
        began = self._loop.time()
        async with asyncio.TaskGroup() as group:
            for planned in self._schedule.faults:
                await asyncio.sleep(began + planned.at_s - self._loop.time())
                group.create_task(self._inject(planned))

    async def _inject(self, planned: Planned) -> None:
        strike: Callable[[Planned], Awaitable[bool]] = getattr(self, f"_{planned.fault}")
        began_ns = self._history.now()
        took_effect = await strike(planned)
        loses = took_effect and planned.fault == "lose_tail"
        self._history.add(
            Struck(self._history.now(), planned.fault, took_effect, loses=loses, began_ns=began_ns, said=str(planned))
        )

    async def _crash_worker(self, planned: Planned) -> bool:
        worker = _chosen(self._living_workers(), planned)
        if worker is None:
            return False
        worker.link.kill()
        await asyncio.sleep(_REPLACED_AFTER_S)
        self._start_worker()
        return True

    async def _freeze_worker(self, planned: Planned) -> bool:
        worker = _chosen(self._living_workers(), planned)
        if worker is None:
            return False
        worker.link.freeze()
        await asyncio.sleep(planned.lasts_s)
        worker.link.thaw()
        return True

    async def _drain_worker(self, planned: Planned) -> bool:
        worker = _chosen(self._living_workers(), planned)
        if worker is None:
            return False
        worker.drain()
        self._start_worker()
        await asyncio.sleep(planned.lasts_s)
        worker.link.kill()
        return True

    async def _crash_edge(self, planned: Planned) -> bool:
        edge = _chosen(self._open_edges(), planned)
        if edge is None:
            return False
        edge.kill()
        self._start_edge()
        return True

    async def _freeze_edge(self, planned: Planned) -> bool:
        edge = _chosen(self._open_edges(), planned)
        if edge is None:
            return False
        edge.link.freeze()
        await asyncio.sleep(planned.lasts_s)
        edge.link.thaw()
        return True

    async def _drain_edge(self, planned: Planned) -> bool:
        edge = _chosen(self._open_edges(), planned)
        if edge is None:
            return False
        self._start_edge()
        edge.drain()
        await asyncio.sleep(self._settings.edge_drain_s)
        edge.kill()
        return True

    async def _store_down(self, planned: Planned) -> bool:
        self._network.is_down = True
        self._network.fail_over()
        await asyncio.sleep(planned.lasts_s)
        self._network.is_down = False
        return True

    async def _lost_replies(self, planned: Planned) -> bool:
        self._network.loss = 0.5
        await asyncio.sleep(planned.lasts_s)
        self._network.loss = 0.0
        return True

    async def _store_full(self, planned: Planned) -> bool:
        self._network.is_full = True
        await asyncio.sleep(planned.lasts_s)
        self._network.is_full = False
        return True

    async def _fail_over(self, planned: Planned) -> bool:
        self._network.fail_over()
        return True

    async def _lose_tail(self, planned: Planned) -> bool:
        """The replica hears nothing for a while; then it becomes the master."""
        moment: Moment = self._network.store.snapshot()
        losses = self._losses
        await asyncio.sleep(planned.lasts_s)
        if losses != self._losses:
            return False  # there has been another master since, and what it lost does not come back
        self._losses += 1
        self._network.store.restore(moment)
        self._network.fail_over()
        return True

    async def _lose_jobs(self, planned: Planned) -> bool:
        self._queue.loss = 0.8
        await asyncio.sleep(planned.lasts_s)
        self._queue.loss = 0.0
        return True

    async def _cancel(self, planned: Planned) -> bool:
        stream_id, edge = _chosen(self._streams, planned), _chosen(self._open_edges(), planned)
        if stream_id is None or edge is None:
            return False
        try:
            await edge.streams.cancel(CALLER, stream_id, attempt=None)
        except TailraceError:
            return False
        return True

    async def _delete(self, planned: Planned) -> bool:
        stream_id, edge = _chosen(self._streams, planned), _chosen(self._open_edges(), planned)
        if stream_id is None or edge is None:
            return False
        self._history.add(Removed(self._history.now(), stream_id))
        try:
            await edge.streams.delete(CALLER, stream_id)
        except TailraceError:
            return False
        return True

    async def _expire(self, planned: Planned) -> bool:
        stream_id = _chosen(self._streams, planned)
        if stream_id is None:
            return False
        self._history.add(Removed(self._history.now(), stream_id))
        self._network.store.expire(stream_id)
        return True

    # The cast

    def _start_worker(self) -> None:
        providers: list[Provider] = [self._provider, self._provider]
        link = self._network.link(self._name("worker"))
        worker = SimWorker(link, self._queue, providers, settings=self._settings, metrics=_metrics())
        self._workers.append(worker)
        self._tasks.append(self._loop.create_task(worker.run()))

    def _start_edge(self) -> None:
        link = self._network.link(self._name("edge"))
        edge = SimEdge(link, self._queue, self._own_chance(), settings=self._settings, metrics=_metrics())
        self._edges.append(edge)
        self._tasks.append(self._loop.create_task(edge.run()))

    async def _make(self, plan: StreamPlan) -> None:
        """Create a stream as a client would: again and again with the same key, until somebody says yes."""
        await asyncio.sleep(plan.at_s)
        wanted = CreateStream.model_validate(
            {"model": "scripted", "messages": plan.script.messages(), "on_interruption": plan.policy}
        )
        while True:
            edges = self._open_edges()
            try:
                edge = self._chance.choice(edges)
                async with asyncio.timeout(2):
                    made = await edge.streams.create(
                        CALLER, wanted, raw=plan.script.key.encode(), idempotency_key=plan.script.key
                    )
                break
            except (StoreError, MemoryPressure, Draining, TimeoutError, IndexError):
                await asyncio.sleep(0.1)
        if made.id not in self._streams:
            self._streams.append(made.id)
        fields = {"key": plan.script.key, "chunks": plan.script.chunks, "vary": True}
        self._history.add(Created(self._history.now(), made.id, fields, plan.policy or ""))
        for number in range(plan.readers):
            client = self._client(made.id, number)
            self._clients.append(self._loop.create_task(client.run()))

    def _client(self, stream_id: str, number: int) -> SimClient:
        return SimClient(
            f"{stream_id[:6]}/{number}",
            stream_id,
            self._open_edges,
            self._history,
            self._own_chance(),
            leaving=self._schedule.leaving,
            slowness_s=self._schedule.slowness_s,
        )

    async def _to_the_end(self, makers: Sequence[asyncio.Task[None]]) -> None:
        """Wait for every reader; one that waits for ever is left to the checker."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await asyncio.gather(*makers)
                await asyncio.gather(*self._clients)
                while any((meta := self._meta(each)) is not None and not meta.is_over for each in self._streams):
                    await asyncio.sleep(0.2)

    async def _stop(self) -> None:
        broken = [task.exception() for task in self._tasks if task.done() and not task.cancelled()]
        while rest := asyncio.all_tasks(self._loop) - {asyncio.current_task(self._loop)}:
            for task in rest:
                task.cancel()
            await asyncio.wait(rest, timeout=1)
        for error in filter(None, broken):
            raise error

    def _write_down(self) -> None:
        for plan in self._schedule.streams:
            asked = self._provider.requests[plan.script.key]
            self._history.add(Asked(self._history.now(), plan.script.key, asked))
        for stream_id in self._streams:
            self._history.add(self._logged(stream_id))

    def _logged(self, stream_id: str) -> Logged:
        snapshot = self._network.store.streams.read(stream_id, START, limit=_EVERYTHING)
        if snapshot is None:
            return Logged(self._history.now(), stream_id)
        meta = snapshot.meta
        fences = [(fence.attempt, fence.nonce, fence.keep) for fence in meta.fences]
        entries = [(e.position.attempt, e.position.offset, _data(e.event.data())) for e in snapshot.entries]
        return Logged(self._history.now(), stream_id, meta.status, meta.tail, meta.trimmed, fences, entries)

    # Looking around

    def _meta(self, stream_id: str) -> Any:
        return self._network.store.streams.meta(stream_id)

    def _living_workers(self) -> list[SimWorker]:
        return [worker for worker in self._workers if not worker.link.is_dead]

    def _open_edges(self) -> list[SimEdge]:
        return [edge for edge in self._edges if not edge.link.is_dead and not edge.streams.is_draining]

    def _own_chance(self) -> random.Random:
        return random.Random(self._chance.random())

    def _name(self, kind: str) -> str:
        self._names += 1
        return f"{kind}-{self._names}"


def _chosen(among: Sequence[Any], planned: Planned) -> Any:
    return among[planned.victim % len(among)] if among else None


def _data(line: bytes) -> dict[str, Any]:
    data: dict[str, Any] = orjson.loads(line)
    return data


class _Numbered:
    """Numbers for objects in the order in which they are first asked for."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[int, object]] = {}

    def number(self, each: object) -> int:
        # The object is kept too, or its address could be given to another one.
        return self._known.setdefault(id(each), (len(self._known), each))[0]


@contextlib.contextmanager
def _made_up(loop: VirtualLoop, seed: int) -> Iterator[None]:
    """Clock and chance of the standard library come from the schedule.

    Sets of readers are in the order of their hashes, which are addresses by default; numbers make them repeat themselves.
    """
    chance, state, numbered = random.Random(seed), random.getstate(), _Numbered()
    random.seed(seed)
    try:
        with (
            mock.patch.object(time, "monotonic", loop.time),
            mock.patch.object(secrets, "token_hex", lambda n: chance.randbytes(n).hex()),
            mock.patch.object(secrets, "token_bytes", chance.randbytes),
            mock.patch.object(Reader, "__hash__", lambda reader: numbered.number(reader)),
        ):
            yield
    finally:
        random.setstate(state)


@cache
def _settings(max_stream_bytes: int = _PLENTY_BYTES) -> Settings:
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
