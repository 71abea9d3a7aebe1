"""What the nemesis knows of a fault."""

import asyncio
import random
from typing import ClassVar, Final, Protocol

from tests.chaos.cluster import Cluster
from tests.chaos.member import Member
from tests.chaos.workload import Workload
from tests.support.history import Failed, History

__all__ = ("DRAIN_GRACE_S", "Fault", "Scene", "lasting", "terminated")

# What handing over, closing connections and ending the interpreter may take on a busy machine.
DRAIN_GRACE_S: Final = 5.0


class Scene:
    """Where a fault strikes."""

    def __init__(self, cluster: Cluster, workload: Workload, history: History, chance: random.Random) -> None:
        self.cluster = cluster
        self.workload = workload
        self.history = history
        self.chance = chance


class Fault(Protocol):
    """One kind of fault. `row` names it; `loses` says that it may take what Redis had acknowledged."""

    row: ClassVar[str]
    loses: ClassVar[bool]

    async def strike(self, scene: Scene) -> str | None:
        """Do it, lift it, and say what it did; None if it met nobody."""
        ...


async def terminated(member: Member, scene: Scene, *, within_s: float) -> None:
    """SIGTERM to a process, which breaks a promise if it does not leave properly."""
    problem = await member.terminate(within_s=within_s)
    if problem is not None:
        scene.history.add(Failed(scene.history.now(), 13, problem))


async def lasting(seconds: float) -> None:
    """Let a fault last. The one place where the nemesis waits for time rather than for a state."""
    await asyncio.sleep(seconds)
