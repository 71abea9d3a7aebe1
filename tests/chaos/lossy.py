"""Workers and edges at the other end of a cable that loses packets: those to their readers, those to Redis, or all."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, ClassVar, Final, cast

from shared.log.keys import Keyspace
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from tests.chaos.cluster import Cluster
from tests.chaos.faults.fault import Scene, lasting
from tests.chaos.member import DirectEdge, DirectMember
from tests.support.edge import EdgeProcess
from tests.support.namespace import Namespace
from tests.support.redis_server import RedisServer
from tests.support.service import Service
from tests.support.worker import ProviderProcess, WorkerProcess

__all__ = ("LosePackets", "LossyCluster")

_PREFIX: Final = "chaos"


class LossyCluster(Cluster):
    """Redis, the provider and the readers are at our end of the `cable`, everybody else at the other.

    There are no proxies: what TCP does about a loss is what is to be seen.
    """

    def __init__(self, cable: Namespace, *, settings: dict[str, str | float]) -> None:
        self.cable = cable
        reachable = ("--bind", cable.host, "127.0.0.1", "--protected-mode", "no")
        self.node = RedisServer("redis7", args=reachable)
        self.provider = ProviderProcess(host=cable.host)
        self.workers, self.edges, self._nginx = [], [], []
        beyond = {"edge_host": cable.peer, "allow_anonymous": True}
        self.settings: dict[str, Any] = {"prefix": _PREFIX, **beyond, **settings}
        self._stack = AsyncExitStack()

    @property
    def url(self) -> str:
        """Redis, seen from the other end."""
        return f"redis://{self.cable.host}:{self.node.port}/0"

    @property
    def nodes(self) -> Sequence[RedisServer]:
        return [self.node]

    @property
    def redis_ports(self) -> Sequence[int]:
        return [self.node.port]

    @property
    def edge_ports(self) -> Sequence[int]:
        return [edge.port for edge in self.edges]

    @property
    def switched_at_ns(self) -> Sequence[int]:
        return ()

    async def _start(self) -> None:
        await self._stack.enter_async_context(self.node)
        await asyncio.to_thread(self._stack.enter_context, self.provider)
        self.settings["config"] = str(self._configuration())
        self.store = RedisStore(open_client(self.node.url, timeout_s=2), Keyspace(_PREFIX))
        self._stack.push_async_callback(self.store.aclose)
        group = cast("Any", self)
        for number in (1, 2):
            worker = DirectMember(f"worker-{number}", group, self._beyond(WorkerProcess), self.settings)
            self.workers.append(await self._stack.enter_async_context(worker))
            edge = DirectEdge(f"edge-{number}", group, self._beyond(EdgeProcess), self.settings)
            self.edges.append(await self._stack.enter_async_context(edge))
        await asyncio.gather(*(member.until_ready() for member in self.members))

    def _beyond(self, new: Callable[..., Service]) -> Callable[..., Service]:
        """The same process at the other end of the cable."""

        def made(**settings: Any) -> Service:
            service = new(**settings)
            service.entry = self.cable.entry
            return service

        return made


class LosePackets:
    """So many of a hundred packets to and from some ports get lost."""

    row: ClassVar = "row_22_packets_lost"
    loses: ClassVar = False

    def __init__(self, percent: int, *, seconds: float, ports: Sequence[int]) -> None:
        self._percent = percent
        self._seconds = seconds
        self._ports = ports

    async def strike(self, scene: Scene) -> str | None:
        cable = cast("LossyCluster", scene.cluster).cable
        await asyncio.to_thread(cable.lose, self._percent, self._ports)
        try:
            await lasting(self._seconds)
        finally:
            lost = await asyncio.to_thread(cable.lose_nothing)
        return f"{lost} packets" if lost else None
