"""The shared tail: two connections to Redis for all streams that readers of this edge follow.

Active streams are *hot*: one XREAD waits on all of them, and under load it is sent again only every few milliseconds,
so that one call brings many streams' news. Streams that have been quiet for a second are *cold*: another XREAD waits on
those and is sent again only once a second or when one speaks up. So the cost follows the news, not the number of
streams. Whoever joins is hot, and interrupts the hot wait.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

from services.edge.delivery.hub import Hub
from shared.backoff import Backoff
from shared.errors import StoreError
from shared.log.position import Position
from shared.settings.settings import Settings
from shared.store.store import Tailer

__all__ = ("Tail",)

logger = logging.getLogger(__name__)

_QUIET_S = 1.0
_HOT_BLOCK_MS = 1000
# Reads that may follow each other without a pause after a calm. A stream that begins takes three or four, so with fewer
# an edge that begins a few streams a second would delay each first token by a pace.
_BURST_READS = 20
# Redis and this process pay for every stream that is named in a read, with news or without (2 µs each). So the more
# there are, the longer the pause: at 1,000 streams with 3,000 events a second this takes two thirds off both.
_PAUSE_PER_STREAM_S = 10e-6
_HOT_PAUSE_MOST_S, _COLD_PAUSE_MOST_S = 0.025, 0.1
_COLD_BLOCK_MS = 1000
# Whoever follows a stream whose keys are deleted is told within the sum of these two.
_SILENT_S, _CHECK_S = 0.5, 0.75
_RECHECK_S, _MOST_RECHECKS = 5.0, 100
_RETRY_FIRST_S, _RETRY_MOST_S = 0.1, 1.0


class Tail:
    """Reads for the hub until cancelled. `is_healthy` says whether it reaches Redis."""

    def __init__(self, hub: Hub, settings: Settings) -> None:
        self._hub = hub
        self._settings = settings
        self._cold: Mapping[str, Position] = {}
        self._hot: Tailer | None = None
        self._joined = asyncio.Event()
        self._next_read_at = 0.0
        self._failing: set[Callable[[Tailer], Awaitable[None]]] = set()

    def __repr__(self) -> str:
        return f"<Tail hot={len(self._hub.feeds) - len(self._cold)} cold={len(self._cold)} healthy={self.is_healthy}>"

    @property
    def is_healthy(self) -> bool:
        return not self._failing

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep(self._read_hot))
            group.create_task(self._keep(self._read_cold))
            group.create_task(self._admit())
            group.create_task(self._watch_silent())

    async def _keep(self, read: Callable[[Tailer], Awaitable[None]]) -> None:
        """Read for ever on a connection of its own; after a failure, a new connection and a look at every feed."""
        backoff = Backoff(_RETRY_FIRST_S, _RETRY_MOST_S)
        pause_s = 0.0
        while True:
            tailer = self._hub.store.tailer()
            try:
                if pause_s:
                    await asyncio.sleep(pause_s)
                    await self._find_again(read)
                while True:
                    await read(tailer)
                    backoff.reset()
            except StoreError as error:
                self._hub.metrics.store_errors.labels(code=error.code).inc()
                if self.is_healthy:
                    logger.warning("the tail lost Redis: %s", error.message)
            except Exception:  # a bug must not end the tail: every reader of this edge hangs on it
                logger.exception("the tail failed")
            finally:
                await tailer.aclose()
            self._failing.add(read)
            pause_s = backoff.next_s()

    async def _find_again(self, read: Callable[[Tailer], Awaitable[None]]) -> None:
        """Healthy is who reaches Redis, also with nothing to read: an edge without readers must recover too."""
        await self._hub.store.ping()
        for feed in list(self._hub.feeds.values()):
            await self._hub.recheck(feed)
        self._failing.discard(read)
        if self.is_healthy:
            logger.info("the tail has found Redis again")

    async def _read_hot(self, tailer: Tailer) -> None:
        await self._pace(len(self._hub.feeds) - len(self._cold))
        self._joined.clear()
        cold = self._cold
        hot = {stream_id: feed.tail for stream_id, feed in self._hub.feeds.items() if stream_id not in cold}
        if not hot:
            await self._joined.wait()
            return
        self._hot = tailer
        try:
            await self._read(tailer, hot, block_ms=_HOT_BLOCK_MS)
        finally:
            self._hot = None

    async def _pace(self, streams: int) -> None:
        """Wait for the next read: one every `tail_pace_s`, fewer with many streams; some at once after a calm."""
        now, least_s = asyncio.get_running_loop().time(), self._settings.tail_pace_s
        pace_s = max(least_s, min(streams * _PAUSE_PER_STREAM_S, _HOT_PAUSE_MOST_S))
        self._next_read_at = max(self._next_read_at + pace_s, now - _BURST_READS * least_s)
        if self._next_read_at > now:
            await asyncio.sleep(self._next_read_at - now)

    async def _admit(self) -> None:
        """Interrupt the hot wait for whoever has joined meanwhile."""
        while True:
            await self._hub.joined.wait()
            self._hub.joined.clear()
            self._joined.set()
            if self._hot is None:
                continue
            try:
                await self._hot.interrupt()
            except StoreError:
                continue  # the reading tasks see the same failure, count it and recover from it

    async def _read_cold(self, tailer: Tailer) -> None:
        self._cold = self._quiet()
        if not self._cold:
            await asyncio.sleep(_QUIET_S / 4)
            return
        try:
            await self._read(tailer, self._cold, block_ms=_COLD_BLOCK_MS)
        except BaseException:
            self._cold = {}
            raise
        else:
            # Who spoke up is hot from now on; the others stay cold, also while nobody asks about them.
            self._cold = self._quiet()
        finally:
            self._hub.joined.set()
        await asyncio.sleep(min(len(self._cold) * _PAUSE_PER_STREAM_S, _COLD_PAUSE_MOST_S))

    def _quiet(self) -> Mapping[str, Position]:
        quiet = asyncio.get_running_loop().time() - _QUIET_S
        return {feed.id: feed.tail for feed in self._hub.feeds.values() if feed.quiet_since < quiet}

    async def _read(self, tailer: Tailer, cursors: Mapping[str, Position], *, block_ms: int | None) -> None:
        try:
            news = await tailer.read(cursors, count=self._settings.tail_count, block_ms=block_ms)
        except StoreError as error:
            if error.retryable:
                raise
            await self._single_out(tailer, cursors)
            return
        except (LookupError, ValueError):  # an entry that is none of ours
            await self._single_out(tailer, cursors)
            return
        self._hub.metrics.tail_reads.inc()
        if news:
            self._hub.metrics.tail_entries.inc(sum(map(len, news.values())))
            await self._hub.deliver(news)

    async def _single_out(self, tailer: Tailer, cursors: Mapping[str, Position]) -> None:
        """Give up the streams that cannot be read, so that the others go on. If none can be, it is not the streams."""
        failures: dict[str, Exception] = {}
        for stream_id, position in cursors.items():
            try:
                await tailer.read({stream_id: position}, count=self._settings.tail_count, block_ms=None)
            except (StoreError, LookupError, ValueError) as error:
                if isinstance(error, StoreError) and error.retryable:
                    raise
                failures[stream_id] = error
        if len(failures) == len(cursors) > 1:
            raise next(iter(failures.values()))
        for stream_id, failure in failures.items():
            logger.error("a stream cannot be read: %s", failure, extra={"stream": stream_id})
            self._hub.give_up(stream_id)

    async def _watch_silent(self) -> None:
        """XREAD says nothing of a key that was deleted or a log that was folded, so look after the silent streams."""
        while True:
            await asyncio.sleep(_CHECK_S)
            try:
                await self._check_silent(asyncio.get_running_loop().time())
            except StoreError:
                continue  # the reading tasks see the same failure, count it and recover from it
            except Exception:  # as in `_keep`
                logger.exception("the silent streams could not be checked")

    async def _check_silent(self, now: float) -> None:
        silent = [feed for feed in self._hub.feeds.values() if feed.quiet_since < now - _SILENT_S]
        if not silent:
            return
        there = set(await self._hub.store.present([feed.id for feed in silent]))
        for feed in silent:
            if feed.id not in there:
                self._hub.vanish(feed.id)
        long_silent = [feed for feed in silent if feed.id in there and feed.checked_at < now - _RECHECK_S]
        for feed in long_silent[:_MOST_RECHECKS]:
            await self._hub.recheck(feed)
