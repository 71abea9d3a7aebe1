"""Faults of the network between one process and Redis."""

from typing import ClassVar

from tests.chaos.cluster import chosen
from tests.chaos.faults.fault import Scene, lasting
from tests.chaos.member import Member
from tests.support.proxy import Proxy

__all__ = ("DelayNetwork", "LoseReplies", "PartitionMember", "ResetConnections", "ResetInPipeline")


class LoseReplies:
    """Replies of Redis to a process are lost, after their requests got through."""

    row: ClassVar = "row_03_lost_reply"
    loses: ClassVar = False

    def __init__(self, *, replies: int = 3, among: str = "workers") -> None:
        self._replies = replies
        self._among = among

    async def strike(self, scene: Scene) -> str | None:
        member, proxy = await self._victim(scene)
        if proxy is None:
            return None
        before = proxy.took["lost"]
        proxy.lose_replies = self._replies
        await lasting(1.0)
        proxy.lose_replies = 0
        lost = proxy.took["lost"] - before
        return f"{lost} replies to {member}" if lost else None

    async def _victim(self, scene: Scene) -> tuple[Member | None, Proxy | None]:
        return await victim(scene, scene.cluster.workers if self._among == "workers" else scene.cluster.members)


class ResetInPipeline:
    """RST after some bytes of requests: Redis has the beginning of a command, perhaps some whole ones before it."""

    row: ClassVar = "row_04_reset_in_pipeline"
    loses: ClassVar = False

    def __init__(self, *, times: int = 4) -> None:
        self._times = times

    async def strike(self, scene: Scene) -> str | None:
        member, proxy = await victim(scene, scene.cluster.workers)
        if proxy is None:
            return None
        before = proxy.took["reset"]
        for _ in range(self._times):
            proxy.reset_after_bytes = scene.chance.randint(1, 3000)
            await lasting(0.3)
        proxy.reset_after_bytes = None
        resets = proxy.took["reset"] - before
        return f"{resets} connections of {member}" if resets else None


class ResetConnections:
    """RST of all connections that a process has to Redis."""

    row: ClassVar = "row_04_reset_of_all"
    loses: ClassVar = False

    async def strike(self, scene: Scene) -> str | None:
        member = chosen(scene.chance, scene.cluster.members)
        resets = sum(proxy.reset_all() for proxy in member.proxies) if member else 0
        return f"{resets} connections of {member}" if resets else None


class PartitionMember:
    """A process and Redis cannot reach each other, and neither is told; later everything arrives."""

    row: ClassVar = "row_22_partition"
    loses: ClassVar = False

    def __init__(self, *, seconds: float | None = None) -> None:
        self._seconds = seconds

    async def strike(self, scene: Scene) -> str | None:
        member = chosen(scene.chance, scene.cluster.members)
        if member is None:
            return None
        for proxy in member.proxies:
            proxy.blackhole()
        await lasting(self._seconds or scene.chance.choice((0.5, 2.0, 6.0)))
        held = sum(proxy.took["held"] for proxy in member.proxies)
        for proxy in member.proxies:
            proxy.lift()
        return f"{member}" if held else None


class DelayNetwork:
    """Every piece between every process and Redis takes 200 ms, give or take 100; one reply in a while is lost."""

    row: ClassVar = "row_22_latency_and_loss"
    loses: ClassVar = False

    def __init__(self, *, seconds: float = 4.0) -> None:
        self._seconds = seconds

    async def strike(self, scene: Scene) -> str | None:
        proxies = [proxy for member in scene.cluster.members for proxy in member.proxies]
        for proxy in proxies:
            proxy.delay_s, proxy.jitter_s, proxy.lose_replies = 0.1, 0.2, 1
        await lasting(self._seconds)
        delayed = sum(proxy.took["delayed"] for proxy in proxies)
        for proxy in proxies:
            proxy.lift()
        return f"{delayed} pieces" if delayed else None


async def victim(scene: Scene, members: list[Member]) -> tuple[Member | None, Proxy | None]:
    """Somebody, and its proxy to the master there is now."""
    member = chosen(scene.chance, members)
    if member is None:
        return None, None
    return member, member.nodes[(await scene.cluster.redis.master()).port]
