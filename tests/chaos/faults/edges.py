"""Faults of edge processes."""

from typing import ClassVar

from tests.chaos.cluster import chosen
from tests.chaos.faults.fault import DRAIN_GRACE_S, Scene, terminated
from tests.chaos.member import Member

__all__ = ("DrainEdge", "KillEdge")


class KillEdge:
    """kill -9 of an edge with all its readers; it is started again."""

    row: ClassVar = "row_16_edge_killed"
    loses: ClassVar = False

    def __init__(self, edge: Member | None = None) -> None:
        self._edge = edge

    async def strike(self, scene: Scene) -> str | None:
        edge = self._edge or chosen(scene.chance, [*scene.cluster.edges])
        if edge is None:
            return None
        await edge.kill()
        await edge.start()
        return edge.name


class DrainEdge:
    """SIGTERM to an edge, as in a rolling deploy: its readers are moved."""

    row: ClassVar = "row_17_edge_drained"
    loses: ClassVar = False

    def __init__(self, edge: Member | None = None) -> None:
        self._edge = edge

    async def strike(self, scene: Scene) -> str | None:
        edge = self._edge or chosen(scene.chance, [*scene.cluster.edges])
        if edge is None:
            return None
        drain_s = float(scene.cluster.settings.get("edge_drain_s", 10))
        await terminated(edge, scene, within_s=drain_s + DRAIN_GRACE_S)
        await edge.start()
        return f"{edge.name}"
