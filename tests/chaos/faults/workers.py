"""Faults of worker processes."""

import asyncio
from typing import ClassVar

from tests.chaos.cluster import chosen
from tests.chaos.faults.fault import DRAIN_GRACE_S, Scene, lasting, terminated
from tests.chaos.member import Member
from tests.support.waiting import eventually

__all__ = ("DrainWorker", "FreezeWorker", "KillWorker", "SkewClock")


class KillWorker:
    """kill -9 of a worker, the busiest there is; it is started again a little later."""

    row: ClassVar = "row_01_worker_killed"
    loses: ClassVar = False

    def __init__(self, *, down_s: float = 0.5) -> None:
        self._down_s = down_s

    async def strike(self, scene: Scene) -> str | None:
        worker, held = await busiest(scene)
        if worker is None:
            return None
        await worker.kill()
        await lasting(self._down_s)
        await worker.start()
        return f"{worker.name} with {held} streams" if held else None


class FreezeWorker:
    """SIGSTOP for longer than a lease lasts, then SIGCONT: the worker comes back as a zombie."""

    row: ClassVar = "row_02_worker_frozen"
    loses: ClassVar = False

    def __init__(self, *, seconds: float | None = None) -> None:
        self._seconds = seconds

    async def strike(self, scene: Scene) -> str | None:
        worker, held = await busiest(scene)
        if worker is None:
            return None
        async with worker.alone:
            worker.freeze()
            try:
                await lasting(self._seconds or scene.chance.choice((1.0, 5.0, 8.0)))
            finally:
                worker.thaw()
        return f"{worker.name} with {held} streams" if held else None


class DrainWorker:
    """SIGTERM to a worker, as in a rolling deploy: what it cannot finish it hands over."""

    row: ClassVar = "row_17_worker_drained"
    loses: ClassVar = False

    def __init__(self, worker: Member | None = None) -> None:
        self._worker = worker

    async def strike(self, scene: Scene) -> str | None:
        worker, held = await self._victim(scene)
        if worker is None:
            return None
        drain_s = float(scene.cluster.settings.get("worker_drain_s", 20))
        await terminated(worker, scene, within_s=drain_s + DRAIN_GRACE_S)
        await worker.start()
        return f"{worker.name} with {held} streams" if held else None

    async def _victim(self, scene: Scene) -> tuple[Member | None, int]:
        if self._worker is None:
            return await busiest(scene)
        return self._worker, len(await scene.cluster.held_by(self._worker))


class SkewClock:
    """A worker whose wall clock is wrong; it takes its share of the streams like any other."""

    row: ClassVar = "row_23_clock_jump"
    loses: ClassVar = False

    def __init__(self, worker: Member) -> None:
        self._worker = worker

    async def strike(self, scene: Scene) -> str | None:
        held: list[str] = []

        async def has_work() -> bool:
            held[:] = await scene.cluster.held_by(self._worker)
            return bool(held)

        await eventually(has_work, within_s=10, every_s=0.05)
        return f"{self._worker.name} with {len(held)} streams"


async def busiest(scene: Scene) -> tuple[Member | None, int]:
    """The running worker that holds most streams, or any if none holds one, and how many it holds."""
    cluster = scene.cluster
    running = [worker for worker in cluster.workers if worker.is_running]
    held = await asyncio.gather(*(cluster.held_by(worker) for worker in running))
    counts = {worker.name: len(streams) for worker, streams in zip(running, held, strict=True)}
    if not any(counts.values()):
        return chosen(scene.chance, running), 0
    best = max(running, key=lambda worker: counts[worker.name])
    return best, counts[best.name]
