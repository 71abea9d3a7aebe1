"""The same workers and edges on a Redis Cluster, with the queue on a Redis of its own; and what strikes there."""

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any, ClassVar, Final, cast

from shared.log.keys import Keyspace, bucket_of
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from tests.chaos.cluster import Cluster
from tests.chaos.faults.fault import Scene, lasting
from tests.chaos.member import DirectEdge, DirectMember
from tests.support.edge import EdgeProcess
from tests.support.redis_cluster import RedisCluster
from tests.support.redis_server import running_redis
from tests.support.worker import ProviderProcess, WorkerProcess

__all__ = ("KillSlotMaster", "MoveSlot", "SlotCluster")

_PREFIX: Final = "chaos"


class SlotCluster(Cluster):
    """`slots` stands where `redis` does elsewhere. There are no proxies: nodes of a cluster name each other's ports."""

    slots: RedisCluster

    def __init__(self, *, has_replica: bool = False, settings: dict[str, str | float]) -> None:
        self.slots = RedisCluster(has_replica=has_replica)
        self.provider = ProviderProcess()
        self.workers, self.edges = [], []
        self.settings: dict[str, Any] = {"prefix": _PREFIX, "log_format": "json", "log_level": "info", **settings}
        self._queue = running_redis("redis7")
        self._stack = AsyncExitStack()

    @property
    def switched_at_ns(self) -> Sequence[int]:
        """There are no Sentinels; who kills a master here says so."""
        return ()

    async def _start(self) -> None:
        await self._stack.enter_async_context(self.slots)
        await self._stack.enter_async_context(self._queue)
        self._stack.enter_context(self.provider)
        self.settings |= {"config": str(self._configuration()), "queue_url": self._queue.url}
        self.store = RedisStore(open_client(self.slots.url, timeout_s=2), Keyspace(_PREFIX))
        self._stack.push_async_callback(self.store.aclose)
        for number in (1, 2):
            worker = DirectMember(f"worker-{number}", cast("Any", self.slots), WorkerProcess, self.settings)
            self.workers.append(await self._stack.enter_async_context(worker))
            edge = DirectEdge(f"edge-{number}", cast("Any", self.slots), EdgeProcess, self.settings)
            self.edges.append(await self._stack.enter_async_context(edge))
        await self._open_nginx()
        await asyncio.gather(*(member.until_ready() for member in self.members))


class MoveSlot:
    """The slot of the bucket with most live streams goes to another master, key by key, and on, and on."""

    row: ClassVar = "row_24_slot_of_a_live_bucket_moved"
    loses: ClassVar = False

    def __init__(self, *, times: int, per_key_s: float) -> None:
        self._times = times
        self._per_key_s = per_key_s

    async def strike(self, scene: Scene) -> str | None:
        slots = cast("SlotCluster", scene.cluster).slots
        live = Counter(bucket_of(meta.id) for meta in await scene.cluster.live())
        if not live:
            return None
        ((bucket, streams),) = live.most_common(1)
        slot, keys = slots.slot(bucket), 0
        for _ in range(self._times):
            owner = await slots.owner(slot)
            target = _another(slots, owner.port, scene.chance)
            keys += await slots.move(slot, target, pause_s=self._per_key_s)
            await lasting(scene.chance.uniform(0.2, 0.5))
        return f"bucket {bucket} with {streams} live streams, {self._times} times, {keys} keys"


class KillSlotMaster:
    """kill -9 of the master that has a replica, which is promoted."""

    row: ClassVar = "row_06_cluster_master_killed"
    loses: ClassVar = True

    async def strike(self, scene: Scene) -> str | None:
        slots = cast("SlotCluster", scene.cluster).slots
        master = slots.nodes[0]
        struck = [meta.id for meta in await scene.cluster.live() if await self._is_on(slots, meta.id)]
        if not struck:
            return None
        await asyncio.to_thread(master.kill)
        await slots.until_promoted()
        # Our own client has to hear of it too, before the verdict asks it.
        await scene.cluster.live()
        return f"node {master.port} with {len(struck)} live streams"

    async def _is_on(self, slots: RedisCluster, stream_id: str) -> bool:
        return await slots.owner(slots.slot(bucket_of(stream_id))) is slots.nodes[0]


def _another(slots: RedisCluster, port: int, chance: random.Random) -> Any:
    return chance.choice([node for node in slots.nodes if node.port != port])
