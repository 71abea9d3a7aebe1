"""The parts that bring streams to the readers of one edge, put together."""

import asyncio
from collections.abc import Mapping

from services.edge.delivery.conclusions import Conclusions
from services.edge.delivery.context import ReaderContext
from services.edge.delivery.hub import Hub
from services.edge.delivery.large_frames import LargeFrames
from services.edge.delivery.readers import Readers
from services.edge.delivery.tail import Tail
from services.edge.wires.registry import WIRES, Wires
from shared.settings.settings import Settings
from shared.store.store import Store
from shared.telemetry.metrics import Metrics, counted

__all__ = ("Delivery",)


class Delivery:
    """The feeds (`hub`), what fills them (`tail`), the readers, and what each reader is given of these (`context`)."""

    def __init__(self, store: Store, settings: Settings, metrics: Metrics, *, wires: Wires = WIRES) -> None:
        self.metrics = metrics
        self.readers = Readers(settings, metrics, wires)
        self.hub = Hub(store, settings, metrics, delivered=self.readers.delivered)
        self.tail = Tail(self.hub, settings)
        self.context = ReaderContext(
            store=store,
            feeds=self.hub,
            readers=self.readers,
            large_frames=LargeFrames(buffer_bytes=settings.edge_buffer_bytes),
            conclusions=Conclusions(store, settings),
            metrics=metrics,
        )

    def __repr__(self) -> str:
        return f"<Delivery {self.hub!r} {self.readers!r}>"

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.readers.run(may_retire=lambda: self.tail.is_healthy), name="readers")
            group.create_task(self.hub.run(), name="hub")
            group.create_task(self.tail.run(), name="tail")

    def statistics(self) -> Mapping[str, int]:
        """Counts and bytes of this edge, as `GET /v1/stats` shows them."""
        return {
            "readers": len(self.readers),
            **self.hub.statistics(),
            "large_frames_bytes": self.context.large_frames.kept_bytes,
            "gaps_told": counted(self.metrics.gaps),
            "creates_refused": counted(self.metrics.creates_refused),
        }
