"""The readers of this edge, and the clock that keeps silent ones connected and sends old ones on."""

import asyncio
import logging
import math
import random
from collections.abc import Callable
from typing import Protocol

from services.edge.delivery.live import Channel
from services.edge.wires.notices import Heartbeat
from services.edge.wires.registry import Wires
from services.edge.wires.silent import SILENT
from services.edge.wires.websocket import WEBSOCKET
from services.edge.wires.wire import Wire
from shared.settings.settings import Settings
from shared.telemetry.metrics import Metrics

__all__ = ("AttachedReader", "Readers")

logger = logging.getLogger(__name__)

# Readers are looked at in this many groups, one a tick, so that heartbeats are spread rather than bunched.
_TICKS_PER_HEARTBEAT = 20
_EXPIRY_JITTER = 0.1
# A busy loop is late; the promise is made for the heartbeat's own interval.
_PUNCTUALITY = 0.9
_LEAVING_AT_ONCE = 32


class AttachedReader(Protocol):
    """A reader, as far as the clock knows it. None of its methods blocks."""

    wire: Wire
    expires_at: float

    def heartbeat(self) -> None:
        """Keep a silent connection open."""
        ...

    def leave(self) -> None:
        """Go elsewhere, at the next event boundary."""
        ...

    def abort(self) -> None:
        """Be cut now, whatever is on its way."""
        ...


class Readers:
    """Everybody who reads here: counted, kept alive, sent on when old, and moved when the edge goes away."""

    def __init__(self, settings: Settings, metrics: Metrics, wires: Wires) -> None:
        self._settings = settings
        self._attached: set[AttachedReader] = set()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._is_draining = False
        # At once, so that each of them is served from the start.
        all_wires = (*wires, WEBSOCKET, SILENT)
        self._delivered = {wire: metrics.events_delivered.labels(wire=wire.name) for wire in all_wires}
        self._counts = {wire: metrics.edge_readers.labels(wire=wire.name) for wire in all_wires}
        self._heartbeats: dict[Channel, bytes] = {}

    def __repr__(self) -> str:
        return f"<Readers {len(self)}>"

    def __len__(self) -> int:
        return len(self._attached)

    def attach(self, reader: AttachedReader) -> None:
        """Count the reader in. One that comes while the edge is going away is sent on at once."""
        self._attached.add(reader)
        self._emptied.clear()
        self._counts[reader.wire].inc()
        if self._is_draining:
            reader.leave()

    def detach(self, reader: AttachedReader) -> None:
        self._attached.discard(reader)
        self._counts[reader.wire].dec()
        if not self._attached:
            self._emptied.set()

    def delivered(self, wire: Wire, events: int) -> None:
        """Count events that were handed to readers of a wire."""
        self._delivered[wire].inc(events)

    def heartbeat(self, channel: Channel) -> bytes:
        """A heartbeat that is ready to be written, made once."""
        ready = self._heartbeats.get(channel)
        if ready is None:
            ready = self._heartbeats[channel] = channel.wrap(channel.wire.notice(Heartbeat(), None))
        return ready

    def retry_ms(self) -> int:
        """Return the reconnect delay: spread out, so that one edge's readers do not arrive as a storm."""
        return round(self._settings.retry_ms * random.uniform(0.5, 1.5))

    def expiry(self, wire: Wire) -> float:
        """Return the time, on the loop's clock, at which a reader that attaches now reaches its maximum age."""
        if not wire.retires:
            return math.inf
        jitter = random.uniform(1 - _EXPIRY_JITTER, 1 + _EXPIRY_JITTER)
        return _now() + self._settings.max_connection_s * jitter

    async def run(self, *, may_retire: Callable[[], bool]) -> None:
        """Heartbeats and connection ages. Costs a few microseconds per reader and heartbeat, nothing per idle tick.

        Without Redis nobody is retired: no edge could let them in again.
        """
        tick_s = _PUNCTUALITY * self._settings.edge_heartbeat_s / _TICKS_PER_HEARTBEAT
        tick = 0
        while True:
            await asyncio.sleep(tick_s)
            tick = (tick + 1) % _TICKS_PER_HEARTBEAT
            now = _now()
            for reader in [reader for reader in self._attached if id(reader) // 64 % _TICKS_PER_HEARTBEAT == tick]:
                if reader.expires_at < now and may_retire():
                    reader.leave()
                else:
                    reader.heartbeat()

    async def drain(self, seconds: float) -> None:
        """Move every reader elsewhere, spread over half of `seconds`; cut those that have not left by the end of it.

        Those that cannot come back are given the whole of it to finish.
        """
        self._is_draining = True
        deadline = _now() + seconds
        readers = [reader for reader in self._attached if reader.wire.retires]
        random.shuffle(readers)
        for left, reader in enumerate(readers):
            reader.leave()
            if left % _LEAVING_AT_ONCE == _LEAVING_AT_ONCE - 1:
                await asyncio.sleep(seconds / 2 * _LEAVING_AT_ONCE / len(readers))
        try:
            async with asyncio.timeout_at(deadline):
                await self._emptied.wait()
        except TimeoutError:
            logger.warning("readers were cut off", extra={"readers": len(self)})
            for reader in list(self._attached):
                reader.abort()


def _now() -> float:
    return asyncio.get_running_loop().time()
