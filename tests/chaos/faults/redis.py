"""Faults of Redis itself."""

import asyncio
from typing import ClassVar

from tests.chaos.faults.fault import Scene, lasting
from tests.chaos.faults.workers import busiest
from tests.support.waiting import eventually

__all__ = (
    "FailOver",
    "KillMaster",
    "LoseTail",
    "LoseTailAndWorker",
    "OutOfMemory",
    "PauseRedis",
    "RestartMaster",
    "SplitClaim",
)


class RestartMaster:
    """kill -9 of the master, and a start at once, before the Sentinels have made up their mind."""

    row: ClassVar = "row_05_redis_master_killed_and_restarted"
    loses: ClassVar = True

    async def strike(self, scene: Scene) -> str | None:
        master = await scene.cluster.redis.master()
        await asyncio.to_thread(master.kill)
        await asyncio.to_thread(master.start)
        await scene.cluster.redis.heal()
        return f"node {master.port}"


class KillMaster:
    """kill -9 of the master; the Sentinels promote the replica, and the dead one comes back as its replica."""

    row: ClassVar = "row_06_redis_master_killed_sentinel_failover"
    loses: ClassVar = True

    async def strike(self, scene: Scene) -> str | None:
        redis = scene.cluster.redis
        master = await redis.master()
        await asyncio.to_thread(master.kill)
        new = await redis.until_master_is_not(master)
        await redis.heal()
        return f"node {master.port}, then {new.port}"


class LoseTail:
    """The replica hears nothing for a while, the master dies, and what it had acknowledged meanwhile is lost."""

    row: ClassVar = "row_07_failover_with_lost_tail"
    loses: ClassVar = True

    def __init__(self, *, seconds: float = 0.7) -> None:
        self._seconds = seconds

    async def strike(self, scene: Scene) -> str | None:
        return await lose_tail(scene, seconds=self._seconds)


class LoseTailAndWorker:
    """The same, and a worker with the text of the lost tail dies too: nobody can repair the log."""

    row: ClassVar = "row_08_failover_with_lost_tail_and_lost_worker"
    loses: ClassVar = True

    async def strike(self, scene: Scene) -> str | None:
        worker, held = await busiest(scene)
        if worker is None or not held:
            return None
        said = await lose_tail(scene, seconds=0.7, and_then=worker.kill)
        await worker.start()
        return f"{said}, {worker.name} with {held} streams" if said else None


class SplitClaim:
    """A takeover that only the old master knew of; after the failover another worker claims the same attempt number."""

    row: ClassVar = "row_09_two_claimants_of_one_attempt"
    loses: ClassVar = True

    async def strike(self, scene: Scene) -> str | None:
        worker, held = await busiest(scene)
        if worker is None or not held:
            return None
        store, streams = scene.cluster.store, await scene.cluster.held_by(worker)
        before = {meta.id: meta for meta in await scene.cluster.live() if meta.id in streams}
        await scene.cluster.redis.cut_replication()
        await worker.kill()

        async def are_taken_over() -> bool:
            metas = [await store.meta(stream_id) for stream_id in before]
            return all(m is None or m.is_over or m.attempt > before[m.id].attempt for m in metas)

        await eventually(are_taken_over, within_s=20, every_s=0.05)
        claimed = {stream_id: await store.meta(stream_id) for stream_id in before}
        said = await lose_tail(scene, seconds=0.2, is_cut=True)
        await worker.start()
        return f"{said}, {len(claimed)} claims lost" if said and claimed else None


class PauseRedis:
    """The master answers nobody who writes, though it is alive, and the Sentinels have patience with it."""

    row: ClassVar = "row_10_redis_paused"
    loses: ClassVar = False

    def __init__(self, *, seconds: float = 5.0) -> None:
        self._seconds = seconds

    async def strike(self, scene: Scene) -> str | None:
        redis = scene.cluster.redis
        master = await redis.master()
        async with redis.patience():
            await redis.command(master.port, "CLIENT", "PAUSE", round(self._seconds * 1000), "WRITE")
            await lasting(self._seconds)
        return f"node {master.port} for {self._seconds} s"


class FailOver:
    """A failover that an operator asks for: the replica is up to date, and nothing is lost."""

    row: ClassVar = "row_11_planned_failover"
    loses: ClassVar = True

    async def strike(self, scene: Scene) -> str | None:
        redis = scene.cluster.redis
        master = await redis.master()
        await redis.fail_over()
        new = await redis.until_master_is_not(master)
        await redis.heal()
        return f"node {master.port}, then {new.port}"


class OutOfMemory:
    """Redis refuses everything that takes memory."""

    row: ClassVar = "row_12_out_of_memory"
    loses: ClassVar = False

    def __init__(self, *, seconds: float = 3.0) -> None:
        self._seconds = seconds

    async def strike(self, scene: Scene) -> str | None:
        client = scene.cluster.redis.client((await scene.cluster.redis.master()).port)
        refused = await refusals(client)
        await client.config_set("maxmemory", 1)
        try:
            await lasting(self._seconds)
        finally:
            await client.config_set("maxmemory", 0)
        count = await refusals(client) - refused
        return f"{count} commands refused" if count else None


async def lose_tail(scene: Scene, *, seconds: float, is_cut: bool = False, and_then: object = None) -> str | None:
    """Fail over to a replica that has not heard of the last seconds."""
    redis = scene.cluster.redis
    master, replica = await redis.master(), await redis.replica()
    if not is_cut:
        await redis.cut_replication()
    await lasting(seconds)
    lost = await redis.offset(master) - await redis.offset(replica)
    await asyncio.to_thread(master.kill)
    if callable(and_then):
        await and_then()
    await redis.until_master_is_not(master)
    await redis.heal()
    return f"{lost} bytes of replication" if lost > 0 else None


async def refusals(client: object) -> int:
    """How often the server has said OOM."""
    info = await client.info("errorstats")  # type: ignore[attr-defined]
    return int(info.get("errorstat_OOM", {}).get("count", 0))
