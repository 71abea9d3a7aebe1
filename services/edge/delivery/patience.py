"""A reader that is refused for now, and waits on its connection until it is let in.

A browser's EventSource that is answered with a status, 503 say, never asks again. So it gets its 200 at once, comments
while it waits, and is sent on if this edge goes away first.
"""

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable

from services.edge.carriers.carrier import Carrier, Disconnected
from services.edge.delivery.reader import Reader
from services.edge.delivery.readers import Readers
from services.edge.wires import notices
from services.edge.wires.wire import Wire
from shared.backoff import Backoff
from shared.errors import Draining, TailraceError

__all__ = ("PatientReader", "is_for_now")

logger = logging.getLogger(__name__)

_RETRY_FIRST_S, _RETRY_MOST_S = 0.25, 2.0
_PASSING_STATUSES = frozenset({429, 503})


def is_for_now(refusal: TailraceError) -> bool:
    """Return whether the same request may be granted later: Redis is away, this edge is going, a limit is reached."""
    return refusal.retryable and refusal.status in _PASSING_STATUSES


class PatientReader:
    """Asks `let_in` again and again. What it cannot be told any more, a no or a 204, the next connection is told."""

    def __init__(self, let_in: Callable[[], Awaitable[Reader | None]], readers: Readers, *, wire: Wire) -> None:
        self.wire = wire
        self.expires_at = readers.expiry(wire)
        self._let_in = let_in
        self._readers = readers
        self._carrier: Carrier | None = None
        self._reader: Reader | None = None
        self._is_connected = True
        self._called = asyncio.Event()

    def __repr__(self) -> str:
        return f"<PatientReader {self._reader or 'waiting'}>"

    def heartbeat(self) -> None:
        """Every try is followed by a comment, which is often enough."""

    def leave(self) -> None:
        """Go elsewhere."""
        self._called.set()

    def abort(self) -> None:
        """Be cut now."""
        self.disconnect()
        if self._carrier is not None:
            self._carrier.abort()

    def stall(self) -> None:
        """The transport's buffer is full, or the peer is gone."""
        if self._reader is not None:
            self._reader.stall()

    def disconnect(self) -> None:
        """The peer has gone."""
        self._is_connected = False
        self._called.set()
        if self._reader is not None:
            self._reader.disconnect()

    async def run(self, carrier: Carrier) -> None:
        """Serve the response body. Raises `Disconnected` if the reader left."""
        self._carrier = carrier
        self._readers.attach(self)
        try:
            await carrier.send(self.wire.opening(self._readers.retry_ms()) + self._heartbeat())
            self._reader = await self._admitted(carrier)
        finally:
            self._readers.detach(self)
        if self._reader is not None:
            await self._reader.run(carrier)
            return
        await carrier.send(self.wire.notice(notices.Reconnect(self._readers.retry_ms()), None))
        await carrier.cut()

    async def _admitted(self, carrier: Carrier) -> Reader | None:
        """The reader, once there is one; None if this connection is to end."""
        backoff = Backoff(_RETRY_FIRST_S, _RETRY_MOST_S)
        while not self._called.is_set():
            try:
                return await self._let_in()
            except TailraceError as refusal:
                if isinstance(refusal, Draining) or not is_for_now(refusal):
                    return None
                logger.debug("a reader waits: %s", refusal.code)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(backoff.next_s()):
                    await self._called.wait()
            if self._is_connected:
                await carrier.send(self._heartbeat())
        if not self._is_connected:
            raise Disconnected
        return None

    def _heartbeat(self) -> bytes:
        return self.wire.notice(notices.Heartbeat(), None)
