"""All streams that readers of this edge follow."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence

from services.edge.delivery.feed import Diverged, Feed, Follower
from services.edge.delivery.live import PendingWrites
from services.edge.wires.wire import Wire
from shared.errors import StoreError
from shared.log.events import LogEntry
from shared.log.lineage import Reset
from shared.settings.settings import Settings
from shared.store.state import Meta
from shared.store.store import Store
from shared.telemetry.metrics import Metrics

__all__ = ("Hub",)

logger = logging.getLogger(__name__)

# How old the last news of a stream may be for readers to join its feed without a look at Redis. A stream that was
# deleted elsewhere, or a Redis that is gone, is noticed by new readers at most this much later.
_CURRENT_S = 1.0
# How often the bytes of all feeds are added up.
_BOUND_S = 0.5


class Hub:
    """Feeds by stream id. `delivered` is told how many events went to live readers of a wire."""

    def __init__(
        self, store: Store, settings: Settings, metrics: Metrics, *, delivered: Callable[[Wire, int], None]
    ) -> None:
        self.store = store
        self.metrics = metrics
        self.feeds: dict[str, Feed] = {}
        self.joined = asyncio.Event()
        self._delivered = delivered
        self._just_delivered: dict[Wire, int] = {}
        self._pending = PendingWrites()
        self._settings = settings

    def __repr__(self) -> str:
        return f"<Hub feeds={len(self.feeds)}>"

    def follow(self, reader: Follower, meta: Meta, instead_of: Feed | None) -> Feed:
        """The feed of a stream that is not over, which the tail keeps up to date while anybody follows it."""
        self.unfollow(reader, instead_of)
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

    def share(self, reader: Follower, feed: Feed) -> Feed | None:
        """The same feed for one more reader, if the tail still keeps it up to date."""
        if not self.is_followed(feed):
            return None
        feed.readers.add(reader)
        return feed

    def is_followed(self, feed: Feed) -> bool:
        """Return whether the tail still keeps this feed up to date."""
        return self.feeds.get(feed.id) is feed

    def unfollow(self, reader: Follower, feed: Feed | None) -> None:
        """Take a reader from its feed, which is forgotten with its last one."""
        if feed is None:
            return
        feed.leave(reader)
        feed.readers.discard(reader)
        if not feed.readers and self.is_followed(feed):
            del self.feeds[feed.id]

    def _tally(self, wire: Wire, events: int) -> None:
        # A counter takes a lock and the time of a frame; with many streams there are a hundred of them in a read.
        self._just_delivered[wire] = self._just_delivered.get(wire, 0) + events

    def _count_delivered(self) -> None:
        for wire, events in self._just_delivered.items():
            self._delivered(wire, events)
        self._just_delivered.clear()

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
        """Return a stream's meta from Redis. One whose meta is broken is given up, and then not followed any more."""
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

    async def run(self) -> None:
        """Keep what all feeds hold together within its bound."""
        while True:
            await asyncio.sleep(_BOUND_S)
            self.bound_feeds()

    def statistics(self) -> Mapping[str, int]:
        return {"feeds": len(self.feeds), "feed_bytes": sum(feed.kept_bytes for feed in self.feeds.values())}

    def bound_feeds(self) -> None:
        """Let frames of the quietest feeds go when all together keep too much: their readers can read Redis."""
        kept_bytes = sum(feed.kept_bytes for feed in self.feeds.values())
        if kept_bytes > self._settings.edge_buffer_bytes:
            for feed in sorted(self.feeds.values(), key=lambda feed: feed.quiet_since):
                kept_bytes -= feed.let_go()
                if kept_bytes <= self._settings.edge_buffer_bytes:
                    break
        self.metrics.edge_feed_bytes.set(kept_bytes)


def _now() -> float:
    return asyncio.get_running_loop().time()
