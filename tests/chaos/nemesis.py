"""Who strikes when: a seeded sequence of faults, each of which says whether it met anybody."""

import asyncio
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from redis.exceptions import RedisError

from shared.errors import StoreError
from tests.chaos.faults.edges import DrainEdge, KillEdge
from tests.chaos.faults.fault import Fault, Scene
from tests.chaos.faults.network import DelayNetwork, LoseReplies, PartitionMember, ResetConnections, ResetInPipeline
from tests.chaos.faults.redis import (
    FailOver,
    KillMaster,
    LoseTail,
    LoseTailAndWorker,
    OutOfMemory,
    PauseRedis,
    RestartMaster,
    SplitClaim,
)
from tests.chaos.faults.streams import CancelStream, DeleteKeys, DeleteStream
from tests.chaos.faults.workers import DrainWorker, FreezeWorker, KillWorker
from tests.support.history import Struck

__all__ = ("FAULTS", "Nemesis", "inject")

_KINDS: Final[Sequence[Callable[[], Fault]]] = (
    KillWorker,
    FreezeWorker,
    DrainWorker,
    LoseReplies,
    ResetInPipeline,
    ResetConnections,
    PartitionMember,
    DelayNetwork,
    RestartMaster,
    KillMaster,
    LoseTail,
    LoseTailAndWorker,
    SplitClaim,
    PauseRedis,
    FailOver,
    OutOfMemory,
    KillEdge,
    DrainEdge,
    CancelStream,
    DeleteKeys,
    DeleteStream,
)
# By the name of the row, with or without the words after its number.
FAULTS: Final[Mapping[str, Callable[[], Fault]]] = {kind.row: kind for kind in _KINDS}  # type: ignore[attr-defined]


class Nemesis:
    """Strikes with a few of `kinds` until time is up, seldom with two at once."""

    def __init__(self, scene: Scene, kinds: Sequence[str], chance: random.Random) -> None:
        self._scene = scene
        self._kinds = kinds
        self._chance = chance

    async def rage(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while loop.time() < deadline:
            await asyncio.sleep(self._chance.uniform(0.3, 1.5))
            names = self._chance.sample(self._kinds, min(len(self._kinds), self._chance.choice((1, 1, 1, 2))))
            if len(names) == 2 and not self._can_meet(names):
                names = names[:1]
            await asyncio.gather(*(inject(FAULTS[name](), self._scene) for name in names))

    def _can_meet(self, names: Sequence[str]) -> bool:
        """Two failovers at once would only wait for each other."""
        return sum("redis" in name or "failover" in name or "claimants" in name for name in names) < 2


async def inject(fault: Fault, scene: Scene) -> bool:
    """Strike once and write it down. Answers whether it took effect."""
    began_ns, said, why = scene.history.now(), None, "met nobody"
    try:
        said = await fault.strike(scene)
    except (StoreError, RedisError, TimeoutError) as error:
        # Another fault was in its way, so this one has not happened.
        why = f"could not: {error!r}"
    scene.history.add(
        Struck(
            scene.history.now(),
            fault.row,
            took_effect=said is not None,
            said=said or why,
            loses=fault.loses,
            began_ns=began_ns,
            fills=isinstance(fault, OutOfMemory),
        )
    )
    return said is not None
