"""Faults of providers. They stand in the scripts, so that they strike at a certain word; here is seen that they did."""

from typing import ClassVar

from tests.chaos.faults.fault import Scene
from tests.support.waiting import eventually

__all__ = ("BreakProvider",)


class BreakProvider:
    """Waits until some script has been asked for more than once, which is what a broken answer leads to."""

    row: ClassVar = "row_25_provider_broken"
    loses: ClassVar = False

    async def strike(self, scene: Scene) -> str | None:
        again: list[str] = []

        async def were_asked_again() -> bool:
            asked = await scene.cluster.asked(scene.history)
            again[:] = [each.key for each in asked if each.requests > 1]
            return bool(again)

        await eventually(were_asked_again, within_s=15, every_s=0.1)
        return f"{len(again)} scripts asked for again"
