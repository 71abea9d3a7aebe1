"""Folds the streams that this worker writes, when an append says that there is enough to fold.

In a task of its own, so that no append waits for a fold; except when a stream has grown far beyond what a fold should
find, because its provider is faster than the folds are. Then its writer waits, and through it the provider.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Final

from services.worker.writing.fold_failures import FoldFailures
from services.worker.writing.writer import Writer
from shared.errors import StoreError, StoreFull, StreamTooLarge
from shared.settings.settings import Settings
from shared.store.calls import Compact
from shared.store.replies import Appended, AppendReply, Compacted, CompactReply
from shared.store.store import StoreMaintenance
from shared.telemetry.metrics import Metrics

__all__ = ("Compactor",)

logger = logging.getLogger(__name__)

# Folds of one pipeline: Redis does them one after the other, and everybody else waits for all of them.
_MOST: Final = 16
# Single entries of one stream that make its writer wait.
_TOO_MUCH_BYTES: Final = 1024 * 1024


class Compactor:
    """Compacts for writers until cancelled. `on_full` is told when the store has refused an append for want of room."""

    def __init__(
        self,
        store: StoreMaintenance,
        settings: Settings,
        metrics: Metrics,
        *,
        on_full: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._on_full = on_full
        self._settings = settings
        self._metrics = metrics
        self._wanted: dict[Writer, None] = {}
        self._wake = asyncio.Event()
        self._failures = FoldFailures(metrics, of="live")

    def __repr__(self) -> str:
        return f"<Compactor wanted={len(self._wanted)}>"

    async def run(self) -> None:
        while True:
            await self._wake.wait()
            await self._compact(self._take())

    async def look(self, writers: Sequence[Writer], replies: Sequence[AppendReply | Exception]) -> None:
        """Take note of what appends were answered. Returns late if a stream holds far too much unfolded."""
        urgent: list[Writer] = []
        for writer, reply in zip(writers, replies, strict=True):
            if isinstance(reply, Appended):
                if reply.unfolded is None or reply.unfolded < self._settings.fold_bytes + writer.unfoldable_bytes:
                    continue
                if self._is_too_much(reply.unfolded, reply.bytes or 0):
                    urgent.append(writer)
                else:
                    self._want(writer)
            elif isinstance(reply, StoreFull):
                # Under OOM a fold is allowed, and it makes room; so does whoever evicts.
                self._want(writer)
                self._on_full()
        while urgent:
            self._wanted.update(dict.fromkeys(urgent[_MOST:]))
            urgent = [writer for writer in await self._compact(urgent[:_MOST]) if not writer.is_stopped]

    def _is_too_much(self, unfolded: int, held: int) -> bool:
        return unfolded > _TOO_MUCH_BYTES or held > self._settings.max_stream_bytes

    def _want(self, writer: Writer) -> None:
        self._wanted[writer] = None
        self._wake.set()

    def _take(self) -> list[Writer]:
        taken = list(self._wanted)[:_MOST]
        for writer in taken:
            del self._wanted[writer]
        if not self._wanted:
            self._wake.clear()
        return taken

    async def _compact(self, writers: Sequence[Writer]) -> list[Writer]:
        """One fold for each. Answers those that have more to fold."""
        calls = [
            Compact(
                writer.id,
                writer.nonce,
                block_bytes=self._settings.block_bytes,
                max_bytes=self._settings.max_stream_bytes,
            )
            for writer in writers
        ]
        replies: Sequence[CompactReply | Exception]
        try:
            replies = await self._store.compact(calls)
        except StoreError as error:
            # Nothing depends on it now: the next append asks again.
            replies = [error] * len(writers)
        return [writer for writer, reply in zip(writers, replies, strict=True) if self._has_more(writer, reply)]

    def _has_more(self, writer: Writer, reply: CompactReply | Exception) -> bool:
        if isinstance(reply, Exception):
            self._failures.note(writer.id, reply)
            return False
        if not isinstance(reply, Compacted):
            return False  # fenced, closed or gone: the writer hears that from its own append
        self._failures.clear()
        self._metrics.compactions.labels(of="live").inc()
        # What cannot be folded yet, an unfinished tool call, is not looked at again until there is more.
        writer.unfoldable_bytes = 0 if reply.more else reply.unfolded
        if reply.trimmed > writer.trimmed:
            self._metrics.trimmed_units.inc(reply.trimmed - writer.trimmed)
            writer.trimmed = reply.trimmed
        if reply.bytes > self._settings.max_stream_bytes and not reply.more:
            writer.fail(StreamTooLarge())
        if reply.more:
            self._want(writer)
        return reply.more
