"""An edge without its process: the real hub, tail, streams and readers, on a link that can die or freeze."""

import asyncio
import random

from services.edge.caller import Caller
from services.edge.hub import Hub
from services.edge.outlet import Disconnected
from services.edge.reader import Reader
from services.edge.streams import Streams
from services.edge.tail import Tail
from services.edge.wire import SSE
from shared.settings import Settings
from shared.telemetry import Metrics
from tests.sim.network import Link
from tests.sim.outlet import SimOutlet
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
        self._hub = Hub(link.store, settings, metrics)
        self._tail = Tail(self._hub, settings)
        self.streams = Streams(link.store, queue.dispatcher(link), self._hub, settings)
        self._outlets: set[SimOutlet] = set()
        self._group: asyncio.TaskGroup | None = None

    def __repr__(self) -> str:
        return f"<SimEdge {self.link.name} {self._hub!r}>"

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self._hub.run())
            group.create_task(self._tail.run())

    async def connect(self, stream_id: str, cursor: str | None) -> SimOutlet | None:
        """A response to `GET …/events`; None for 204. Raises what the route would turn into a status."""
        reader = await self.streams.open(CALLER, stream_id, cursor, SSE)
        if reader is None or self._group is None:
            return None
        outlet = SimOutlet(random.Random(self._chance.random()), timeout_s=self._settings.send_timeout_s)
        outlet.on_stall = reader.stall
        self._outlets.add(outlet)
        self._group.create_task(self._serve(reader, outlet))
        return outlet

    def kill(self) -> None:
        self.link.kill()
        for outlet in list(self._outlets):
            outlet.lose()

    def drain(self) -> None:
        """SIGTERM: no new readers, the old ones are moved."""
        self.streams.is_draining = True
        if self._group is not None:
            self._group.create_task(self._hub.drain(self._settings.edge_drain_s))

    async def _serve(self, reader: Reader, outlet: SimOutlet) -> None:
        try:
            await reader.run(outlet)
        except Disconnected:
            outlet.lose()
        finally:
            self._outlets.discard(outlet)
