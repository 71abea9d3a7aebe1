"""Not a fault, but as good as one for a slow reader: what it has yet to read is folded under it."""

from typing import ClassVar

from tests.chaos.faults.fault import Scene
from tests.support.waiting import eventually

__all__ = ("FoldUnderReaders",)


class FoldUnderReaders:
    """Waits until every live stream of the workload has been folded beyond where its slowest reader is."""

    row: ClassVar = "row_15_folding_under_slow_readers"
    loses: ClassVar = False

    async def strike(self, scene: Scene) -> str | None:
        streams = scene.workload.streams
        folded: dict[str, int] = {}

        async def are_overtaken() -> bool:
            for stream_id in streams:
                meta = await scene.cluster.store.meta(stream_id)
                if meta is not None and meta.folded > self._slowest(scene, stream_id):
                    folded[stream_id] = meta.folded
            return len(folded) == len(streams)

        await eventually(are_overtaken, within_s=20, every_s=0.05)
        return f"{len(folded)} streams, up to offset {max(folded.values())}"

    def _slowest(self, scene: Scene, stream_id: str) -> int:
        return min(reader.offset for reader in scene.workload.readers if reader.stream_id == stream_id)
