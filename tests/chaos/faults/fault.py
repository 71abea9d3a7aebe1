"""What the nemesis knows of a fault."""

import asyncio
import random
from typing import ClassVar, Protocol

from tests.chaos.cluster import Cluster
from tests.chaos.workload import Workload
from tests.support.history import History

__all__ = ("Fault", "Scene", "lasting")


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


async def lasting(seconds: float) -> None:
    """Let a fault last. The one place where the nemesis waits for time rather than for a state."""
    await asyncio.sleep(seconds)
