"""Signs of life for all streams of a worker, from a thread of their own.

A busy loop or a long collection stops every task of the event loop, and with a heartbeat among them the worker would
lose all its streams at once. So the renewer has its own thread, loop and connection. It also knows when it has not
been heard: a worker that could not renew in time stops writing before its lease ends, not after.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from services.worker.writing.writer import Lapsed, Lost, Writer
from shared.errors import StoreError
from shared.settings.settings import Settings
from shared.store.calls import LeaseRenewal
from shared.store.replies import Beating, Closed, Fenced, Gone, RenewalReply
from shared.store.store import Store

__all__ = ("LeaseRenewer",)

logger = logging.getLogger(__name__)

# Stop this long before the lease ends, for what is still on its way to Redis.
_MARGIN_S = 1.0
# After a renewal that Redis did not answer the next one comes sooner: a lease has room for few that are missed.
_RETRY_S = 0.5
# Of all ended streams that are kept together; the oldest go first.
_MOST_KEPT_BYTES = 16 * 1024 * 1024


@dataclass(slots=True)
class _Lease:
    writer: Writer
    renewed_at: float
    # Of a stream that has ended: until when its writer is kept, should a failover lose the ending.
    kept_until: float | None = None


class LeaseRenewer:
    """Renews the leases of writers between `start` and `stop`. `open_store` is called in the renewer's own thread."""

    def __init__(self, open_store: Callable[[], Store], settings: Settings) -> None:
        self._open_store = open_store
        self._settings = settings
        self._leases: dict[str, _Lease] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"<LeaseRenewer streams={len(self._leases)}>"

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._live, name="renewer", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        self._stopping.set()
        if self._thread is not None:
            await asyncio.to_thread(self._thread.join)

    def add(self, writer: Writer) -> None:
        """Renew the lease of a stream that was claimed just now."""
        self._leases[writer.id] = _Lease(writer, time.monotonic())

    def keep(self, writer: Writer) -> None:
        """Look after an ended stream for the length of a lease: so long a failover may take to show its losses."""
        now = time.monotonic()
        self._leases.pop(writer.id, None)
        self._leases[writer.id] = _Lease(writer, now, now + self._settings.lease_s)
        self._drop_beyond(_MOST_KEPT_BYTES)

    def _drop_beyond(self, most_bytes: int) -> None:
        kept = [lease for lease in self._leases.values() if lease.kept_until is not None]
        held_bytes = sum(lease.writer.kept_bytes for lease in kept)
        for lease in kept:
            if held_bytes <= most_bytes:
                return
            held_bytes -= lease.writer.kept_bytes
            self.remove(lease.writer)

    def remove(self, writer: Writer) -> None:
        lease = self._leases.get(writer.id)
        if lease is not None and lease.writer is writer:
            del self._leases[writer.id]

    def _live(self) -> None:
        asyncio.run(self._renew_until_stopped())

    async def _renew_until_stopped(self) -> None:
        store = self._open_store()
        try:
            async with asyncio.TaskGroup() as group:
                watch = group.create_task(store.watch())
                pause_s = self._settings.heartbeat_s
                while not await asyncio.to_thread(self._stopping.wait, pause_s):
                    pause_s = self._settings.heartbeat_s if await self._renew(store) else _RETRY_S
                watch.cancel()
        finally:
            await store.aclose()

    async def _renew(self, store: Store) -> bool:
        """Renew every lease. Answers whether Redis was heard."""
        leases = list(self._leases.values())
        lease_ms = round(self._settings.lease_s * 1000)
        renewals = [LeaseRenewal(lease.writer.id, lease.writer.nonce, lease_ms) for lease in leases]
        sent_at = time.monotonic()
        replies: list[RenewalReply | Exception]
        try:
            replies = list(await store.heartbeat(renewals, self._settings.retention)) if renewals else []
        except StoreError as error:
            replies = [error] * len(renewals)
        for lease, reply in zip(leases, replies, strict=True):
            self._take(lease, reply, sent_at)
        return not any(isinstance(reply, Exception) for reply in replies)

    def _take(self, lease: _Lease, reply: RenewalReply | Exception, sent_at: float) -> None:
        if lease.kept_until is not None:
            self._take_kept(lease, reply, lease.kept_until)
            return
        match reply:
            case Beating(cancelling):
                lease.renewed_at = sent_at
                if cancelling:
                    self._tell(lease.writer.stop)
            case Closed():
                return  # ended a moment ago, or by somebody else: the writer's own append is told
            case Fenced() | Gone():
                self._tell(lambda: lease.writer.fail(Lost(reply)))
            case _ if time.monotonic() > lease.renewed_at + self._settings.lease_s - _MARGIN_S:
                logger.warning("lease not renewed in time; the stream is given up", extra={"stream": lease.writer.id})
                self._tell(lambda: lease.writer.fail(Lapsed(Fenced(lease.writer.attempt))))

    def _take_kept(self, lease: _Lease, reply: RenewalReply | Exception, kept_until: float) -> None:
        """Of a stream that has ended `CLOSED` is as it should be. `BEATING` says that the store knows of no ending."""
        match reply:
            case Beating():
                logger.warning("the store has lost an ending; it is written again", extra={"stream": lease.writer.id})
                self._tell(lease.writer.end_again)
            case Closed() if time.monotonic() < kept_until:
                return
            case Closed() | Fenced() | Gone():
                self._tell(lambda: self.remove(lease.writer))

    def _tell(self, call: Callable[[], None]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(call)
