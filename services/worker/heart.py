"""Signs of life for all streams of a worker, from a thread of their own.

A busy loop or a long collection stops every task of the event loop, and with a heartbeat among them the worker would
lose all its streams at once. So the heart has its own thread, loop and connection. It also knows when it has not
been heard: a worker that could not renew in time stops writing before its lease ends, not after.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from services.worker.writer import Lost, Writer
from shared.errors import StoreError
from shared.settings import Settings
from shared.store import Beat, Beating, BeatReply, Closed, Fenced, Gone, Store

__all__ = ("Heart",)

logger = logging.getLogger(__name__)

# Stop this long before the lease ends, for what is still on its way to Redis.
_MARGIN_S = 1.0
# After a beat that Redis did not answer the next one comes sooner: a lease has room for few that are missed.
_RETRY_S = 0.5


@dataclass(slots=True)
class _Pulse:
    writer: Writer
    renewed_at: float


class Heart:
    """Beats for writers between `start` and `stop`. `open_store` is called in the heart's own thread."""

    def __init__(self, open_store: Callable[[], Store], settings: Settings) -> None:
        self._open_store = open_store
        self._settings = settings
        self._pulses: dict[str, _Pulse] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<Heart streams={len(self._pulses)}>"

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._live, name="heart", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def add(self, writer: Writer) -> None:
        """Beat for a stream that was claimed just now."""
        self._pulses[writer.id] = _Pulse(writer, time.monotonic())

    def remove(self, writer: Writer) -> None:
        pulse = self._pulses.get(writer.id)
        if pulse is not None and pulse.writer is writer:
            del self._pulses[writer.id]

    def _live(self) -> None:
        asyncio.run(self._beat_until_stopped())

    async def _beat_until_stopped(self) -> None:
        store = self._open_store()
        try:
            pause_s = self._settings.heartbeat_s
            while not await asyncio.to_thread(self._stopping.wait, pause_s):
                pause_s = self._settings.heartbeat_s if await self._beat(store) else _RETRY_S
        finally:
            await store.aclose()

    async def _beat(self, store: Store) -> bool:
        """Renew every lease. Answers whether Redis was heard."""
        pulses = list(self._pulses.values())
        lease_ms = round(self._settings.lease_s * 1000)
        beats = [Beat(pulse.writer.id, pulse.writer.nonce, lease_ms) for pulse in pulses]
        sent_at = time.monotonic()
        replies: list[BeatReply | Exception]
        try:
            replies = list(await store.heartbeat(beats, self._settings.retention)) if beats else []
        except StoreError as error:
            replies = [error] * len(beats)
        for pulse, reply in zip(pulses, replies, strict=True):
            self._take(pulse, reply, sent_at)
        return not any(isinstance(reply, Exception) for reply in replies)

    def _take(self, pulse: _Pulse, reply: BeatReply | Exception, sent_at: float) -> None:
        match reply:
            case Beating(cancelling):
                pulse.renewed_at = sent_at
                if cancelling:
                    self._tell(pulse.writer.stop)
            case Closed():
                return  # ended a moment ago, or by somebody else: the writer's own append is told
            case Fenced() | Gone():
                self._tell(lambda: pulse.writer.fail(Lost(reply)))
            case _ if time.monotonic() > pulse.renewed_at + self._settings.lease_s - _MARGIN_S:
                logger.warning("lease not renewed in time; the stream is given up", extra={"stream": pulse.writer.id})
                self._tell(lambda: pulse.writer.fail(Lost(Fenced(pulse.writer.attempt))))

    def _tell(self, call: Callable[[], None]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(call)
