"""All streams that readers of this edge follow, and the readers themselves."""

import asyncio
import logging
import random
from collections.abc import Mapping, Sequence

from prometheus_client import Counter, Gauge

from services.edge.carriers.chunked import chunk
from services.edge.delivery.feed import Diverged, Feed
from services.edge.delivery.large_frames import LargeFrames
from services.edge.delivery.live import PendingWrites
from services.edge.delivery.reader import Reader
from services.edge.wires.wire import Wire
from shared.errors import StoreError
from shared.log.events import LogEntry
from shared.log.lineage import Reset
from shared.log.message import Content
from shared.log.position import START, EventId
from shared.settings.settings import Settings
from shared.store.message import assemble
from shared.store.state import Meta
from shared.store.store import Store
from shared.telemetry.metrics import Metrics, counted

__all__ = ("Hub",)

logger = logging.getLogger(__name__)

# Readers are looked at in this many groups, one a tick, so that heartbeats are spread rather than bunched.
_TICKS_PER_HEARTBEAT = 20
_EXPIRY_JITTER = 0.1
# A busy loop is late; the promise is made for the heartbeat's own interval.
_PUNCTUALITY = 0.9
_LEAVING_AT_ONCE = 32
# How old the last news of a stream may be for readers to join its feed without a look at Redis. A stream that was
# deleted elsewhere, or a Redis that is gone, is noticed by new readers at most this much later.
_CURRENT_S = 1.0


class Hub:
    """Feeds by stream id, readers, and the clockwork that keeps silent readers connected."""

    def __init__(self, store: Store, settings: Settings, metrics: Metrics) -> None:
        self.store = store
        self.metrics = metrics
        self.feeds: dict[str, Feed] = {}
        self.readers: set[Reader] = set()
        self.large_frames = LargeFrames(buffer_bytes=settings.edge_buffer_bytes)
        self.joined = asyncio.Event()
        self._emptied = asyncio.Event()
        self._emptied.set()
        self._is_draining = False
        self._delivered: dict[Wire, Counter] = {}
        self._counts: dict[Wire, Gauge] = {}
        self._just_delivered: dict[Wire, int] = {}
        self._pending = PendingWrites()
        self._settings = settings
        self._heartbeats: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"<Hub feeds={len(self.feeds)} readers={len(self.readers)}>"

    # Readers

    def attach(self, reader: Reader) -> None:
        """Count the reader in. One that comes while the edge is going away is sent on at once."""
        self.readers.add(reader)
        self._emptied.clear()
        self._count_of(reader.wire).inc()
        if self._is_draining:
            reader.leave()

    def detach(self, reader: Reader, feed: Feed | None) -> None:
        self.readers.discard(reader)
        self._count_of(reader.wire).dec()
        if not self.readers:
            self._emptied.set()
        self._unfollow(reader, feed)

    def follow(self, reader: Reader, meta: Meta, instead_of: Feed | None) -> Feed:
        """The feed of a stream that is not over, which the tail keeps up to date while anybody follows it."""
        self._unfollow(reader, instead_of)
        feed = self.feeds.get(meta.id)
        if feed is None:
            feed = Feed(meta, max_bytes=self._settings.feed_bytes, delivered=self._tally, pending=self._pending)
            feed.quiet_since = feed.checked_at = _now()
            self.feeds[meta.id] = feed
            self.joined.set()
        feed.readers.add(reader)
        return feed

    def current(self, stream_id: str) -> Feed | None:
        """The feed of a stream that Redis has told us about within the last moment."""
        feed = self.feeds.get(stream_id)
        return feed if feed is not None and feed.checked_at >= _now() - _CURRENT_S else None

    def share(self, reader: Reader, feed: Feed) -> Feed | None:
        """The same feed for one more reader, if the tail still keeps it up to date."""
        if not self.is_followed(feed):
            return None
        feed.readers.add(reader)
        return feed

    def is_followed(self, feed: Feed) -> bool:
        """Whether the tail still keeps this feed up to date."""
        return self.feeds.get(feed.id) is feed

    def delivered(self, wire: Wire, events: int) -> None:
        counter = self._delivered.get(wire)
        if counter is None:
            counter = self._delivered[wire] = self.metrics.events_delivered.labels(wire=wire.name)
        counter.inc(events)

    def _count_of(self, wire: Wire) -> Gauge:
        count = self._counts.get(wire)
        if count is None:
            count = self._counts[wire] = self.metrics.edge_readers.labels(wire=wire.name)
        return count

    def _tally(self, wire: Wire, events: int) -> None:
        # A counter takes a lock and the time of a frame; with many streams there are a hundred of them in a read.
        self._just_delivered[wire] = self._just_delivered.get(wire, 0) + events

    def _count_delivered(self) -> None:
        for wire, events in self._just_delivered.items():
            self.delivered(wire, events)
        self._just_delivered.clear()

    def _unfollow(self, reader: Reader, feed: Feed | None) -> None:
        if feed is None:
            return
        feed.leave(reader)
        feed.readers.discard(reader)
        if not feed.readers and self.is_followed(feed):
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

    async def content(self, stream_id: str, *, most_bytes: int) -> tuple[Content, EventId] | None:
        """The message so far, of a long one its beginning, and the cursor at its end: for a reader that starts over.

        Of a message that has lost its beginning nothing: from the start on the reader is told the gap, then the rest.
        """
        whole = await assemble(self.store, stream_id, most_bytes=most_bytes)
        if whole is None:
            return None
        return (Content(), EventId(START, None)) if whole.meta.trimmed else (whole.content, whole.cursor)

    # Feeds

    async def deliver(self, news: Mapping[str, Sequence[LogEntry]]) -> None:
        """Give what the tail has read to the feeds. Trouble with one stream stays with that stream."""
        now = _now()
        diverged: list[Feed] = []
        for stream_id, entries in news.items():
            feed = self.feeds.get(stream_id)
            if feed is None:
                continue
            feed.quiet_since = feed.checked_at = now
            try:
                feed.take(entries)
            except Diverged:
                diverged.append(feed)
            except Exception:  # an entry that nobody should have written; the readers see what Redis says of it
                logger.exception("a feed cannot take its news", extra={"stream": stream_id})
                self.give_up(stream_id)
            if feed.is_over and self.is_followed(feed):
                del self.feeds[stream_id]
        self._pending.flush()
        self._count_delivered()
        for feed in diverged:
            await self._rebase(feed)

    async def recheck(self, feed: Feed) -> None:
        """Compare a feed with Redis: whenever the tail had to connect again, and when it has long been silent."""
        feed.checked_at = _now()
        meta = await self._meta_of(feed)
        if not self.is_followed(feed):
            return
        if meta is None:
            self.vanish(feed.id)
        elif isinstance(meta.lineage.judge(feed.cursor), Reset) or feed.tail.offset < max(meta.folded, meta.trimmed):
            # XREAD would wait for ever, then skip: what comes next is not in the log, or not there any more.
            feed.rebase(meta)

    async def _rebase(self, feed: Feed) -> None:
        """The log does not continue the feed: it was folded, trimmed, lost or replaced. Go on from where it is now.

        If that is where the feed stands, what follows is nobody's who may write, and would be read again for ever.
        """
        meta = await self._meta_of(feed)
        if not self.is_followed(feed):
            return
        if meta is None:
            self.vanish(feed.id)
        elif meta.lineage.event_id(meta.tail) == feed.cursor:
            logger.error("a stream holds entries beyond its tail", extra={"stream": feed.id})
            self.give_up(feed.id)
        else:
            feed.rebase(meta)

    async def _meta_of(self, feed: Feed) -> Meta | None:
        """What Redis says of a stream. One whose meta is broken is given up, and then not followed any more."""
        try:
            return await self.store.meta(feed.id)
        except StoreError as error:
            if error.retryable:
                raise
            logger.warning("a stream cannot be followed: %s", error.message, extra={"stream": feed.id})
            self.give_up(feed.id)
            return None

    def give_up(self, stream_id: str) -> None:
        """Cut the readers of a stream that cannot be followed, without an ending: there may be one elsewhere."""
        feed = self.feeds.pop(stream_id, None)
        if feed is not None:
            for reader in list(feed.readers):
                reader.disconnect()

    def vanish(self, stream_id: str) -> None:
        feed = self.feeds.pop(stream_id, None)
        if feed is not None:
            feed.vanish()

    # Clockwork

    async def run(self) -> None:
        """Heartbeats and connection ages. Costs a few microseconds per reader and heartbeat, nothing per idle tick."""
        tick_s = _PUNCTUALITY * self._settings.edge_heartbeat_s / _TICKS_PER_HEARTBEAT
        tick = 0
        while True:
            await asyncio.sleep(tick_s)
            self.bound_feeds()
            tick = (tick + 1) % _TICKS_PER_HEARTBEAT
            now = _now()
            for reader in [reader for reader in self.readers if id(reader) // 64 % _TICKS_PER_HEARTBEAT == tick]:
                if reader.expires_at < now:
                    reader.leave()
                else:
                    reader.beat()

    def statistics(self) -> Mapping[str, int]:
        kept_bytes = sum(feed.kept_bytes for feed in self.feeds.values())
        return {
            "readers": len(self.readers),
            "feeds": len(self.feeds),
            "feed_bytes": kept_bytes,
            "large_frames_bytes": self.large_frames.kept_bytes,
            "gaps_told": counted(self.metrics.gaps),
            "creates_refused": counted(self.metrics.creates_refused),
        }

    def bound_feeds(self) -> None:
        """Let frames of the quietest feeds go when all together keep too much: their readers can read Redis."""
        kept_bytes = sum(feed.kept_bytes for feed in self.feeds.values())
        if kept_bytes > self._settings.edge_buffer_bytes:
            for feed in sorted(self.feeds.values(), key=lambda feed: feed.quiet_since):
                kept_bytes -= feed.let_go()
                if kept_bytes <= self._settings.edge_buffer_bytes:
                    break
        self.metrics.edge_feed_bytes.set(kept_bytes)

    async def drain(self, seconds: float) -> None:
        """Move every reader elsewhere, spread over half of `seconds`; cut those that have not left by the end of it."""
        self._is_draining = True
        readers = list(self.readers)
        random.shuffle(readers)
        for left, reader in enumerate(readers):
            reader.leave()
            if left % _LEAVING_AT_ONCE == _LEAVING_AT_ONCE - 1:
                await asyncio.sleep(seconds / 2 * _LEAVING_AT_ONCE / len(readers))
        try:
            async with asyncio.timeout(seconds / 2):
                await self._emptied.wait()
        except TimeoutError:
            logger.warning("readers were cut off", extra={"readers": len(self.readers)})
            for reader in list(self.readers):
                reader.abort()


def _now() -> float:
    return asyncio.get_running_loop().time()
