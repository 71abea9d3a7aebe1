"""One reader: a cursor that walks to the tail of a stream and then stays with it.

It takes what comes next from the edge's feed where that reaches far enough back, and from Redis where it does not;
so however slow it is, nothing queues up for it. Once it is up to date, and its outlet allows, the feed writes to it
directly.
"""

import asyncio
import random
from typing import TYPE_CHECKING

from services.edge import synthetic
from services.edge.feed import Feed
from services.edge.outlet import Disconnected, Outlet
from services.edge.resume import Deliver, Gap, UpToDate, Vanished, step
from services.edge.wire import Wire
from shared.errors import StoreError
from shared.lineage import Reset
from shared.position import EventId
from shared.store import Meta, Snapshot

if TYPE_CHECKING:
    from services.edge.hub import Hub

__all__ = ("PAGE_EVENTS", "Reader")

# Entries of one read of Redis, and bytes of one write: what a reader that has stopped reading can hold up.
PAGE_EVENTS = 128
_WRITE_BYTES = 64 * 1024

_RETRY_FIRST_S, _RETRY_MOST_S = 0.1, 1.0


class Reader:
    """Follows one stream from `cursor` until its end, the reader's, or the edge's."""

    def __init__(self, hub: "Hub", snapshot: Snapshot, cursor: EventId, *, wire: Wire, is_fresh: bool) -> None:
        self.wire = wire
        self.cursor = cursor
        self.is_leaving = False
        self.expires_at = hub.expiry()
        self._hub = hub
        self._snapshot: Snapshot | None = snapshot
        self._stream_id = snapshot.meta.id
        self._opening_meta: Meta | None = snapshot.meta if is_fresh else None
        self._outlet: Outlet | None = None
        self._feed: Feed | None = None
        self._is_connected = True
        self._is_over = False
        self._waiter: asyncio.Future[None] | None = None
        self._beat_due = False

    def __repr__(self) -> str:
        state = "live" if self._feed and self in self._feed.live else "catching up"
        return f"<Reader {self._stream_id[:8]}… at {self.cursor.position} {state} {self.wire.name}>"

    async def run(self, outlet: Outlet) -> None:
        """Serve the response body. Returns when it is complete; raises `Disconnected` if the reader left."""
        self._outlet = outlet
        self._feed = self._hub.attach(self, self._snapshot.meta) if self._snapshot else None
        try:
            await self._open(outlet)
            while not self._is_over and not self.is_leaving:
                await self._advance(outlet)
        finally:
            self._hub.detach(self, self._feed)
        if self._is_over:
            await outlet.end()
            return
        await self._say_goodbye(outlet)

    # What the feed, the hub and the protocol call; never blocks.

    def write(self, chunked: bytes) -> None:
        if self._outlet is not None and self._is_connected:
            self._outlet.write(chunked)

    def beat(self) -> None:
        """Keep a silent connection open. Only a live reader is silent; any other is being written to."""
        if self._feed is not None and self in self._feed.live:
            self.write(self._hub.heartbeat_chunk(self.wire))
        else:
            self._beat_due = True
            self.wake()

    def stall(self) -> None:
        """The transport's buffer is full, or the peer is gone: stop writing until it has drained."""
        if self._feed is not None:
            self._feed.leave(self)
        self.wake()

    def disconnect(self) -> None:
        self._is_connected = False
        self.wake()

    def leave(self) -> None:
        """Ask the reader to go elsewhere, at the next event boundary."""
        self.is_leaving = True
        if self._feed is not None:
            self._feed.leave(self)
        self.wake()

    def wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The walk to the tail.

    async def _open(self, outlet: Outlet) -> None:
        opening = self.wire.opening(self._hub.retry_ms())
        if self._opening_meta is not None:
            opening += self.wire.frame(None, synthetic.start(self._opening_meta))
        if opening:
            await outlet.send(opening)

    async def _advance(self, outlet: Outlet) -> None:
        # A stalled outlet makes us wait here; whatever is decided below is then decided on what is true afterwards.
        await outlet.ready()
        if not self._is_connected:
            raise Disconnected
        if self._beat_due:
            self._beat_due = False
            await outlet.send(self.wire.heartbeat)
        feed = self._feed
        if feed is not None and feed.is_gone:
            await self._finish_gone(outlet)
        elif feed is not None and feed.covers(self.cursor):
            await self._follow(feed, outlet)
        else:
            await self._read(outlet)

    async def _follow(self, feed: Feed, outlet: Outlet) -> None:
        self._snapshot = None
        batch = feed.after(self.cursor.position.offset)
        if batch is None:
            await self._stay(feed, outlet)
            return
        self.cursor = batch.cursor
        await outlet.send(batch.frames(self.wire))
        self._is_over = batch.is_last

    async def _stay(self, feed: Feed, outlet: Outlet) -> None:
        """Up to date: be live until something else than news happens."""
        if feed.is_over:
            self._is_over = True
            return
        if outlet.can_write:
            feed.join(self)
        try:
            await self._wait()
        finally:
            feed.leave(self)

    async def _read(self, outlet: Outlet) -> None:
        snapshot = self._snapshot or await self._page(outlet)
        self._snapshot = None
        if snapshot is None:
            await self._finish_gone(outlet)
            return
        match step(self.cursor, snapshot):
            case Deliver(batch):
                self.cursor = batch.cursor
                await self._send_in_pieces(outlet, batch.frames(self.wire))
                self._is_over = batch.is_last
            case UpToDate():
                await self._up_to_date(snapshot)
            case Gap(to):
                await self._skip(outlet, to)
            case Reset(reason):
                await self._start_over(outlet, reason)
            case Vanished():
                await self._finish_gone(outlet)

    async def _up_to_date(self, snapshot: Snapshot) -> None:
        if snapshot.meta.is_over:
            self._is_over = True
        elif self._feed is not None and not self._feed.covers(self.cursor):
            await self._wait()  # Redis was read a moment ahead of the shared tail, which will come by

    async def _skip(self, outlet: Outlet, to: EventId) -> None:
        self._hub.metrics.gaps.inc()
        data = synthetic.gap(str(self.cursor), str(to), "trimmed")
        self.cursor = to
        await outlet.send(self.wire.frame(str(to), data))

    async def _start_over(self, outlet: Outlet, reason: str) -> None:
        kept = await self._hub.content(self._stream_id)
        if kept is None:
            await self._finish_gone(outlet)
            return
        self._hub.metrics.resets.labels(reason=reason).inc()
        content, self.cursor = kept
        event_id = str(self.cursor) if self.cursor.nonce else None
        await outlet.send(self.wire.frame(event_id, synthetic.reset(reason, content.parts())))

    async def _finish_gone(self, outlet: Outlet) -> None:
        await outlet.send(self.wire.frame(None, synthetic.gone()))
        self._is_over = True

    async def _say_goodbye(self, outlet: Outlet) -> None:
        retry_ms = self._hub.retry_ms()
        await outlet.send(self.wire.opening(retry_ms) + self.wire.frame(None, synthetic.reconnect(retry_ms)))
        await outlet.cut()

    async def _page(self, outlet: Outlet) -> Snapshot | None:
        """A page from Redis. While Redis cannot answer the reader is kept, not turned away."""
        pause_s = _RETRY_FIRST_S
        while True:
            try:
                return await self._hub.store.read(self._stream_id, self.cursor.position, limit=PAGE_EVENTS)
            except StoreError as error:
                self._hub.metrics.store_errors.labels(code=error.code).inc()
                if not error.retryable or self.is_leaving or not self._is_connected:
                    raise Disconnected from error
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, _RETRY_MOST_S)

    async def _send_in_pieces(self, outlet: Outlet, payload: bytes) -> None:
        for start in range(0, len(payload), _WRITE_BYTES):
            await outlet.send(payload[start : start + _WRITE_BYTES])

    async def _wait(self) -> None:
        if not self._is_connected or self.is_leaving or self._beat_due:
            return
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
