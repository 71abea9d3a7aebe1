"""One schedule from its beginning to its end: workers, edges, readers and faults in one loop of virtual time."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import orjson

from services.edge.streams import WantedStream
from shared.errors import Draining, MemoryPressure, StoreError
from shared.log.position import START
from tests.sim.client import SimClient
from tests.sim.clockwork import VirtualLoop
from tests.sim.determinism import made_up
from tests.sim.edge import CALLER
from tests.sim.nemesis import SimNemesis
from tests.sim.population import Population
from tests.sim.schedule import Schedule, StreamPlan
from tests.support.history import Asked, Created, Logged, Met, Record
from tests.support.waiting import eventually

__all__ = ("simulate",)

# After the last fault everything has to come to its end within this time, or never will.
_PATIENCE_S = 60.0
_EVERYTHING = 1_000_000
# Everything is over within a third of this, or something runs in circles: faults 10 s, then the patience.
_MOST_S, _MOST_STEPS = 300.0, 200_000


def simulate(schedule: Schedule) -> Sequence[Record]:
    """The history of a schedule; the same schedule gives the same history. Raises `Endless`."""
    loop = VirtualLoop(most_s=_MOST_S, most_steps=_MOST_STEPS)
    with made_up(loop, schedule.seed):
        try:
            return loop.run_until_complete(_World(loop, schedule).run())
        finally:
            loop.close()


class _World:
    def __init__(self, loop: VirtualLoop, schedule: Schedule) -> None:
        self._loop = loop
        self._schedule = schedule
        self._all = Population(loop, schedule)
        self._history = self._all.history
        self._clients: list[asyncio.Task[Any]] = []

    async def run(self) -> Sequence[Record]:
        for _ in range(self._schedule.workers):
            self._all.start_worker()
        for _ in range(self._schedule.edges):
            self._all.start_edge()
        self._all.network.loss = self._schedule.loss
        makers = [self._loop.create_task(self._make(plan)) for plan in self._schedule.streams]
        await SimNemesis(self._all, self._schedule.faults).rage()
        self._all.network.loss = 0.0
        try:
            await self._to_the_end(makers)
        finally:
            await self._stop()
        self._write_down()
        return self._history.records

    async def _make(self, plan: StreamPlan) -> None:
        """Create a stream and send its readers."""
        await asyncio.sleep(plan.at_s)
        stream_id, asked_ns = await self._created(plan)
        self._all.streams.append(stream_id)
        fields = {"key": plan.script.key, "chunks": plan.script.chunks, "vary": True}
        self._history.add(Created(self._history.now(), asked_ns, stream_id, fields, plan.policy or ""))
        for number in range(plan.readers):
            client = self._client(stream_id, number)
            self._clients.append(self._loop.create_task(client.run()))

    async def _created(self, plan: StreamPlan) -> tuple[str, int]:
        """Ask as a client would, again and again with one key, until somebody says yes: the id, and when asked."""
        script = plan.script
        messages = script.messages()
        wanted = WantedStream(
            model="scripted",
            messages=len(messages),
            request=orjson.dumps({"model": "scripted", "messages": messages}),
            digest=script.key,
            metadata={},
            interruption=plan.policy,
        )
        chance = self._all.own_chance()
        while True:
            asked_ns = self._history.now()
            with contextlib.suppress(StoreError, MemoryPressure, Draining, TimeoutError, IndexError):
                streams = chance.choice(self._all.open_edges()).streams
                async with asyncio.timeout(2):
                    made = await streams.create(CALLER, wanted, idempotency_key=script.key)
                return made.id, asked_ns
            await asyncio.sleep(0.1)

    def _client(self, stream_id: str, number: int) -> SimClient:
        return SimClient(
            f"{stream_id[:6]}/{number}",
            stream_id,
            self._all.open_edges,
            self._history,
            self._all.own_chance(),
            leaving=self._schedule.leaving,
            slowness_s=self._schedule.slowness_s,
        )

    async def _to_the_end(self, makers: Sequence[asyncio.Task[None]]) -> None:
        """Wait for every reader; one that waits for ever is left to the checker."""

        async def are_over() -> bool:
            metas = [self._all.meta(stream_id) for stream_id in self._all.streams]
            return all(meta is None or meta.is_over for meta in metas)

        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE_S):
                await asyncio.gather(*makers)
                await asyncio.gather(*self._clients)
                await eventually(are_over, within_s=_PATIENCE_S, every_s=0.2)

    async def _stop(self) -> None:
        broken = [task.exception() for task in self._all.tasks if task.done() and not task.cancelled()]
        while rest := asyncio.all_tasks(self._loop) - {asyncio.current_task(self._loop)}:
            for task in rest:
                task.cancel()
            await asyncio.wait(rest, timeout=1)
        for error in filter(None, broken):
            raise error

    def _write_down(self) -> None:
        for plan in self._schedule.streams:
            asked = self._all.provider.requests[plan.script.key]
            self._history.add(Asked(self._history.now(), plan.script.key, asked))
        for stream_id in self._all.streams:
            self._history.add(self._logged(stream_id))
        for (injection, step), times in self._all.network.met.items():
            self._history.add(Met(self._history.now(), injection, step, times))

    def _logged(self, stream_id: str) -> Logged:
        trims = sorted(self._all.network.trims[stream_id])
        snapshot = self._all.network.store.streams.read(stream_id, START, limit=_EVERYTHING)
        if snapshot is None:
            return Logged(self._history.now(), stream_id)
        meta = snapshot.meta
        fences = [(fence.attempt, fence.nonce, fence.keep) for fence in meta.fences]
        entries = [(e.position.attempt, e.position.offset, orjson.loads(e.event.data())) for e in snapshot.entries]
        return Logged(self._history.now(), stream_id, meta.status, meta.tail, meta.trimmed, fences, entries, trims)
