"""Dispatch that does not give up: what the queue did not take is brought again, until it does."""

import asyncio
import logging
from typing import Final, NoReturn

from shared.backoff import Backoff
from shared.errors import StoreError
from shared.queue.dispatcher import Dispatcher

__all__ = ("Dispatching",)

logger = logging.getLogger(__name__)

# Whoever creates a stream does not wait longer for the queue. Bringing a stream twice is harmless.
_PATIENCE_S: Final = 1.0
_PAUSE_FIRST_S, _PAUSE_MOST_S = 0.1, 0.5
# Streams that wait for the queue. Beyond that they are left to the sweepers, who find them by their deadline.
_MOST_WAITING: Final = 10_000


class Dispatching:
    """Dispatches new streams; `run` repeats, in order, what was refused or unanswered."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._waiting: dict[str, str] = {}
        self._is_some = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Dispatching waiting={len(self._waiting)}>"

    async def dispatch(self, stream_id: str, *, tenant: str) -> None:
        """Bring a new stream to the queue, now or as soon as it can be reached."""
        refusal = await self._try(stream_id, tenant)
        if refusal is None:
            return
        logger.warning("stream %s is not queued yet: %s", stream_id, refusal)
        if len(self._waiting) < _MOST_WAITING:
            self._waiting[stream_id] = tenant
            self._is_some.set()

    async def run(self) -> NoReturn:
        while True:
            await self._is_some.wait()
            await self._catch_up()

    async def _catch_up(self) -> None:
        backoff = Backoff(_PAUSE_FIRST_S, _PAUSE_MOST_S)
        while self._waiting:
            stream_id, tenant = next(iter(self._waiting.items()))
            if await self._try(stream_id, tenant) is None:
                del self._waiting[stream_id]
                backoff.reset()
                continue
            await asyncio.sleep(backoff.next_s())
        self._is_some.clear()
        logger.info("every stream is queued")

    async def _try(self, stream_id: str, tenant: str) -> str | None:
        """Enqueue a stream once. Return the reason if that failed, else None."""
        try:
            async with asyncio.timeout(_PATIENCE_S):
                await self._dispatcher.dispatch(stream_id, tenant=tenant)
        except StoreError as error:
            return error.message
        except TimeoutError:
            return f"no answer within {_PATIENCE_S:.0f} s"
        return None
