"""All streams that readers of this edge follow, and the readers themselves."""

import asyncio
import random
from collections.abc import Mapping, Sequence

from services.edge.assembly import assemble
from services.edge.feed import Diverged, Feed
from services.edge.reader import Reader
from services.edge.wire import Wire, chunk
from shared.content import Content
from shared.events import LogEntry
from shared.lineage import Reset
from shared.position import EventId, Position
from shared.settings import Settings
from shared.store import Meta, Store
from shared.telemetry import Metrics

__all__ = ("Hub",)

# Readers are looked at in this many groups, one a tick, so that heartbeats are spread rather than bunched.
_TICKS_PER_HEARTBEAT = 20
_EXPIRY_JITTER = 0.1


class Hub:
    """Feeds by stream id, readers, and the clockwork that keeps silent readers connected."""

    def __init__(self, store: Store, settings: Settings, metrics: Metrics) -> None:
        self.store = store
        self.metrics = metrics
        self.feeds: dict[str, Feed] = {}
        self.readers: set[Reader] = set()
        self.joined = asyncio.Event()
        self._emptied = asyncio.Event()
        self._settings = settings
        self._heartbeats: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"<Hub feeds={len(self.feeds)} readers={len(self.readers)}>"

    # Readers

    def attach(self, reader: Reader, meta: Meta) -> Feed | None:
        """Count the reader in, and give it the feed of its stream; a finished stream needs none."""
        self.readers.add(reader)
        self._emptied.clear()
        self.metrics.edge_readers.labels(wire=reader.wire.name).inc()
        if meta.is_over:
            return None
        feed = self.feeds.get(meta.id)
        if feed is None:
            feed = self.feeds[meta.id] = Feed(meta.id, meta.lineage, max_bytes=self._settings.feed_bytes)
            feed.quiet_since = _now()
            self.joined.set()
        feed.readers.add(reader)
        return feed

    def detach(self, reader: Reader, feed: Feed | None) -> None:
        self.readers.discard(reader)
        self.metrics.edge_readers.labels(wire=reader.wire.name).dec()
        if not self.readers:
            self._emptied.set()
        if feed is None:
            return
        feed.leave(reader)
        feed.readers.discard(reader)
        if not feed.readers and self.feeds.get(feed.id) is feed:
            del self.feeds[feed.id]

    def heartbeat_chunk(self, wire: Wire) -> bytes:
        ready = self._heartbeats.get(wire.name)
        if ready is None:
            ready = self._heartbeats[wire.name] = chunk(wire.heartbeat)
        return ready

    def retry_ms(self) -> int:
        """When a reader shall come back: spread out, so that one edge's readers do not arrive as a storm."""
        return round(self._settings.retry_ms * random.uniform(0.5, 1.5))

    def expiry(self) -> float:
        jitter = random.uniform(1 - _EXPIRY_JITTER, 1 + _EXPIRY_JITTER)
        return _now() + self._settings.max_connection_s * jitter

    async def content(self, stream_id: str) -> tuple[Content, EventId] | None:
        """The message so far and the cursor at its end, for a reader that starts over."""
        whole = await assemble(self.store, stream_id)
        return (whole.content, whole.cursor) if whole else None

    # Feeds

    def cursors(self, stream_ids: Sequence[str]) -> Mapping[str, Position]:
        return {stream_id: self.feeds[stream_id].tail for stream_id in stream_ids if stream_id in self.feeds}

    async def deliver(self, news: Mapping[str, Sequence[LogEntry]]) -> None:
        """Give what the tail has read to the feeds."""
        now = _now()
        for stream_id, entries in news.items():
            feed = self.feeds.get(stream_id)
            if feed is None:
                continue
            feed.quiet_since = now
            try:
                feed.extend(entries)
            except Diverged:
                await self.recheck(feed)
            if feed.is_over and self.feeds.get(stream_id) is feed:
                del self.feeds[stream_id]

    async def recheck(self, feed: Feed) -> None:
        """Compare a feed with Redis: after a divergence, and whenever the tail had to connect again."""
        meta = await self.store.meta(feed.id)
        if meta is None:
            self.vanish(feed.id)
            return
        same = not isinstance(meta.lineage.judge(feed.cursor), Reset) and feed.tail != Position(0, 0)
        if not same or meta.trimmed > feed.tail.offset:
            feed.rebase(meta.lineage)

    def vanish(self, stream_id: str) -> None:
        feed = self.feeds.pop(stream_id, None)
        if feed is not None:
            feed.vanish()

    # Clockwork

    async def run(self) -> None:
        """Heartbeats and connection ages. Costs a few microseconds per reader and heartbeat, nothing per idle tick."""
        tick_s = self._settings.edge_heartbeat_s / _TICKS_PER_HEARTBEAT
        tick = 0
        while True:
            await asyncio.sleep(tick_s)
            tick = (tick + 1) % _TICKS_PER_HEARTBEAT
            now = _now()
            for reader in [reader for reader in self.readers if id(reader) // 64 % _TICKS_PER_HEARTBEAT == tick]:
                if reader.expires_at < now:
                    reader.leave()
                else:
                    reader.beat()

    async def drain(self, seconds: float) -> None:
        """Move every reader elsewhere, spread over `seconds`; returns when they have left or time is up."""
        readers = list(self.readers)
        if not readers:
            return
        random.shuffle(readers)
        for left, reader in enumerate(readers):
            reader.leave()
            if left % 32 == 31:
                await asyncio.sleep(seconds / 2 * 32 / len(readers))
        try:
            async with asyncio.timeout(seconds / 2):
                await self._emptied.wait()
        except TimeoutError:
            return


def _now() -> float:
    return asyncio.get_running_loop().time()
