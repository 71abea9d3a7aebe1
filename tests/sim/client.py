"""A reader of the simulation: takes what comes, leaves when it likes, and comes back with its last id to any edge."""

import asyncio
import random
from collections.abc import Callable, Sequence

from shared.errors import StoreError, StreamExpired, TailraceError, UnknownStream
from tests.chaos.transcript import TERMINAL
from tests.sim.carrier import CUT, END, SimCarrier
from tests.sim.edge import SimEdge
from tests.support.history import Closed, History, Left, Opened, Received, Refused
from tests.support.sse_client import SseParser

__all__ = ("SimClient",)

_RETRY_S = 0.05


class SimClient:
    """Follows one stream to its end. `leaving` is how likely it drops its connection after each look at it."""

    def __init__(
        self,
        name: str,
        stream_id: str,
        edges: Callable[[], Sequence[SimEdge]],
        history: History,
        chance: random.Random,
        *,
        leaving: float,
        slowness_s: float,
    ) -> None:
        self.name = name
        self._stream_id = stream_id
        self._edges = edges
        self._history = history
        self._chance = chance
        self._leaving = leaving
        self._slowness_s = slowness_s
        self._cursor: str | None = None
        self._outcome: str | None = None

    def __repr__(self) -> str:
        return f"<SimClient {self.name} at {self._cursor}>"

    async def run(self) -> str:
        while self._outcome is None:
            edges = self._edges()
            if edges:
                await self._connect(self._chance.choice(edges))
            await asyncio.sleep(_RETRY_S * self._chance.uniform(0.5, 1.5))
        self._history.add(Left(self._history.now(), self.name, self._stream_id, self._outcome))
        return self._outcome

    async def _connect(self, edge: SimEdge) -> None:
        try:
            async with asyncio.timeout(3.0):
                carrier = await edge.connect(self._stream_id, self._cursor)
        except (StoreError, TimeoutError):
            return
        except (UnknownStream, StreamExpired) as error:
            self._refused(edge, error)
            self._outcome = "gone"
            return
        except TailraceError as error:
            self._refused(edge, error)
            return
        if carrier is None:
            self._outcome = "nothing left"
            return
        self._history.add(Opened(self._history.now(), self.name, self._stream_id, edge.link.name, self._cursor))
        await self._read(carrier, edge)

    async def _read(self, carrier: SimCarrier, edge: SimEdge) -> None:
        parser = SseParser()
        try:
            # Read on after the terminal event: nothing may follow it.
            while (data := await carrier.take()) not in (END, CUT):
                items = [item for item in parser.feed(data) if item.data is not None]
                for item in items:
                    self._take(item.id, item.data or {}, edge)
                if items and self._outcome is None and self._chance.random() < self._leaving:
                    break
                if items:
                    await asyncio.sleep(self._slowness_s * self._chance.expovariate(1))
        finally:
            carrier.lose()
        self._history.add(Closed(self._history.now(), self.name, self._stream_id, edge.link.name, ""))

    def _take(self, event_id: str | None, data: dict[str, object], edge: SimEdge) -> None:
        record = Received(self._history.now(), self.name, self._stream_id, edge.link.name, event_id, data)
        self._history.add(record)
        self._cursor = event_id or self._cursor
        if data["type"] == "error" and event_id is None:
            self._outcome = "gone"
        elif data["type"] in TERMINAL:
            self._outcome = str(data["type"])

    def _refused(self, edge: SimEdge, error: TailraceError) -> None:
        now, name = self._history.now(), edge.link.name
        self._history.add(Refused(now, self.name, self._stream_id, name, error.status, error.code))
