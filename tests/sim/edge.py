"""An edge without its process: the real hub, tail, streams and readers, on a link that can die or freeze."""

import asyncio
import random

from services.edge.access.caller import Caller
from services.edge.carriers.carrier import Disconnected
from services.edge.delivery.delivery import Delivery
from services.edge.delivery.reader import Reader
from services.edge.streams import Streams
from services.edge.wires.sse import SSE
from shared.settings.settings import Settings
from shared.telemetry.metrics import Metrics
from tests.sim.carrier import SimCarrier
from tests.sim.network import Link
from tests.sim.queue import Queue

__all__ = ("CALLER", "SimEdge")

CALLER = Caller("public")


class SimEdge:
    """Runs until it is killed; then its connections break."""

    def __init__(
        self, link: Link, queue: Queue, chance: random.Random, *, settings: Settings, metrics: Metrics
    ) -> None:
        self.link = link
        self._chance = chance
        self._settings = settings
        self._delivery = Delivery(link.store, settings, metrics)
        self.streams = Streams(link.store, queue.dispatcher(link), self._delivery, settings)
        self._outlets: set[SimCarrier] = set()
        self._group: asyncio.TaskGroup | None = None

    def __repr__(self) -> str:
        return f"<SimEdge {self.link.name} {self._delivery!r}>"

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._delivery.run())
            group.create_task(self.streams.dispatching.run())

    async def connect(self, stream_id: str, cursor: str | None) -> SimCarrier | None:
        """A response to `GET …/events`; None for 204. Raises what the route would turn into a status."""
        reader = await self.streams.open(CALLER, stream_id, cursor, SSE)
        if reader is None or self._group is None:
            return None
        carrier = SimCarrier(random.Random(self._chance.random()), timeout_s=self._settings.send_timeout_s)
        carrier.on_stall = reader.stall
        self._outlets.add(carrier)
        self._group.create_task(self._serve(reader, carrier))
        return carrier

    def kill(self) -> None:
        self.link.kill()
        for carrier in list(self._outlets):
            carrier.lose()

    def drain(self) -> None:
        """SIGTERM: no new readers, the old ones are moved."""
        self.streams.is_draining = True
        if self._group is not None:
            self._group.create_task(self._delivery.readers.drain(self._settings.edge_drain_s))

    async def _serve(self, reader: Reader, carrier: SimCarrier) -> None:
        try:
            await reader.run(carrier)
        except Disconnected:
            carrier.lose()
        finally:
            self._outlets.discard(carrier)
