"""The workers that are there, as the edge tells clients that wait for an answer."""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any, Final

from shared.errors import StoreError
from shared.queue.dispatcher import Dispatcher
from shared.queue.workers import described
from shared.telemetry.metrics import Metrics

__all__ = ("Workforce",)

logger = logging.getLogger(__name__)

_ANSWER_S: Final = 1.0
# However many ask at once because nothing comes, the queue is asked once in this time.
_FRESH_S: Final = 0.5


class Workforce:
    """Asks the queue who is there, and remembers the answer for a moment."""

    def __init__(self, dispatcher: Dispatcher, metrics: Metrics) -> None:
        self._dispatcher = dispatcher
        self._metrics = metrics
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._known: Mapping[str, Any] | None = None

    async def state(self) -> Mapping[str, Any] | None:
        """Return the workers' part of `/v1/stats`; None if the queue does not answer."""
        async with self._asking:
            now = asyncio.get_running_loop().time()
            if now - self._asked_at > _FRESH_S:
                self._known = await self._ask()
                self._asked_at = asyncio.get_running_loop().time()
                self._metrics.workers.set(self._known["count"] if self._known else float("nan"))
        return self._known

    async def _ask(self) -> Mapping[str, Any] | None:
        try:
            async with asyncio.timeout(_ANSWER_S):
                return described(await self._dispatcher.workers())
        except (StoreError, TimeoutError) as error:
            logger.debug("workers are not known: %s", error)
            return None
