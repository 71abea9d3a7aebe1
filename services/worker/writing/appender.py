"""One appender for all streams of a worker: one pipeline in flight, and whatever arrives meanwhile shares the next.

Group commit: nothing waits while Redis is idle, and under load batches grow by themselves.
"""

import asyncio
import logging
from collections.abc import Sequence
from math import inf

from services.worker.writing.compactor import Compactor
from services.worker.writing.writer import StoreStalled, Writer
from shared.backoff import Backoff
from shared.errors import StoreError
from shared.settings.settings import Settings
from shared.store.calls import Append
from shared.store.replies import AppendReply
from shared.store.store import StreamWrites
from shared.telemetry.metrics import APPEND_ANSWERS, APPEND_FAILED, Metrics

__all__ = ("Appender",)

logger = logging.getLogger(__name__)

# Appends of one pipeline. More would only make the first of them wait for the last.
_MAX_APPENDS = 256
# Under load, one pipeline a batch window, which ends when there are enough for one call of Redis; a few windows may
# follow each other at once after a calm, and a first token does not wait for any. CPU of a worker for a chunk, at
# 10,000 of them a second, next to windows of 4 ms (40 appends): 12 % less in windows of 8 ms, 14 % in windows of 12.
_WINDOW_S = 0.008
_ENOUGH = 100
_BURST_WINDOWS = 3
_RETRY_FIRST_S, _RETRY_MOST_S = 0.05, 1.0


class Appender:
    """Sends what writers have, until cancelled."""

    def __init__(self, store: StreamWrites, compactor: Compactor, settings: Settings, metrics: Metrics) -> None:
        self._store = store
        self._compactor = compactor
        self._settings = settings
        self._metrics = metrics
        self._dirty: dict[Writer, None] = {}
        self._wake = asyncio.Event()
        self._next_window_at = 0.0
        self._hurry = asyncio.Event()
        self._enough = inf if settings.flush_ms else _ENOUGH

    def __repr__(self) -> str:
        return f"<Appender dirty={len(self._dirty)}>"

    def open(self, stream_id: str, *, attempt: int, nonce: str, tail: int) -> Writer:
        """A writer whose events this appender sends."""
        return Writer(
            stream_id,
            attempt=attempt,
            nonce=nonce,
            tail=tail,
            max_bytes=self._settings.worker_buffer_bytes,
            notify=self._notify,
        )

    async def run(self) -> None:
        backoff = Backoff(_RETRY_FIRST_S, _RETRY_MOST_S)
        while True:
            await self._wake.wait()
            if not backoff.is_pausing:
                await self._linger()
            if await self._send(self._take()):
                # Only the streams that were refused come again later; a pause for all keeps a sick Redis from a storm.
                await asyncio.sleep(backoff.next_s())
            else:
                backoff.reset()

    def _notify(self, writer: Writer) -> None:
        if not self._dirty:
            self._wake.set()
        self._dirty[writer] = None
        if not writer.tail or len(self._dirty) >= self._enough:
            self._hurry.set()  # its first token waits for nobody

    async def _linger(self) -> None:
        """Let deltas gather until a first one comes: always for `flush_ms`, under load for a batch window."""
        if self._hurry.is_set():
            return
        loop = asyncio.get_running_loop()
        now = loop.time()
        # Never more than a window from now: what is left of one that ends early is not for those after it to wait.
        earliest, latest = now - _BURST_WINDOWS * _WINDOW_S, now + _WINDOW_S
        self._next_window_at = min(max(self._next_window_at + _WINDOW_S, earliest), latest)
        linger_s = max(self._next_window_at - now, self._settings.flush_ms / 1000)
        if linger_s > 0:
            timer = loop.call_later(linger_s, self._hurry.set)
            try:
                await self._hurry.wait()
            finally:
                timer.cancel()

    def _take(self) -> list[Writer]:
        """Some of those who called; who has failed meanwhile has nothing to send."""
        taken = list(self._dirty)[:_MAX_APPENDS]
        if len(taken) < len(self._dirty):
            for writer in taken:
                del self._dirty[writer]
        else:
            self._dirty.clear()
            self._wake.clear()
            self._hurry.clear()
        return taken

    async def _send(self, called: list[Writer]) -> bool:
        """One pipeline of appends. Answers whether any was refused in a way that may pass."""
        writers: list[Writer] = []
        appends: list[Append] = []
        for writer in called:
            append = writer.next_append()
            if append is not None:
                writers.append(writer)
                appends.append(append)
        if not appends:
            return False
        replies: list[AppendReply | Exception]
        try:
            replies = list(await self._store.append(appends, self._settings.retention))
        except StoreError as error:
            replies = [error] * len(writers)
        self._count(appends, replies)
        failed = False
        for writer, reply in zip(writers, replies, strict=True):
            writer.settle(reply)
            if isinstance(reply, Exception):
                failed |= self._is_retrying(writer, reply)
            if writer.has_work:
                self._notify(writer)
        self._metrics.worker_buffer_bytes.set(sum([writer.buffered_bytes for writer in self._dirty]))
        await self._compactor.look(writers, replies)
        return failed

    def _count(self, appends: Sequence[Append], replies: Sequence[AppendReply | Exception]) -> None:
        """Once a batch: counting each append took 8 % of a busy worker."""
        self._metrics.append_batch_events.observe(sum([len(append.events) for append in appends]))
        kinds = list(map(type, replies))
        for kind in set(kinds):
            answer = APPEND_ANSWERS.get(kind, APPEND_FAILED)
            self._metrics.appends.labels(answer=answer).inc(kinds.count(kind))

    def _is_retrying(self, writer: Writer, error: Exception) -> bool:
        """Return whether the writer goes on after a refusal; too many seconds of them end it."""
        if isinstance(error, StoreError):
            self._metrics.store_errors.labels(code=error.code).inc()
        if not writer.has_work:
            return False
        now = asyncio.get_running_loop().time()
        if writer.failing_since is None:
            writer.failing_since = now
            logger.warning("append refused: %s", error, extra={"stream": writer.id})
        if now - writer.failing_since > self._settings.store_stall_s:
            writer.fail(StoreStalled())
            return False
        return True
