"""Asking the store again while it refuses for a reason that passes.

What Redis refuses is not what a stream did, so it must not cost the stream one of its attempts.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from shared.backoff import Backoff
from shared.errors import StoreError

__all__ = ("Patience", "patiently")

T = TypeVar("T")
_PAUSE_FIRST_S: Final = 0.1
_PAUSE_MOST_S: Final = 1.0


class Patience:
    """Pauses that grow, for so long in all. The first try again comes at once: what timed out has waited already."""

    def __init__(self, seconds: float) -> None:
        self._ends_at = asyncio.get_running_loop().time() + seconds
        self._backoff = Backoff(_PAUSE_FIRST_S, _PAUSE_MOST_S)
        self._has_tried = False

    async def pause(self, refusal: StoreError) -> None:
        """Wait before the next try. Raises the refusal if it does not pass, or if patience is at its end."""
        pause_s = self._backoff.next_s() if self._has_tried else 0.0
        self._has_tried = True
        if not refusal.retryable or asyncio.get_running_loop().time() + pause_s > self._ends_at:
            raise refusal
        await asyncio.sleep(pause_s)


async def patiently(ask: Callable[[], Awaitable[T]], *, within_s: float) -> T:
    """Return the answer to what may be asked twice. Raises the last refusal."""
    patience = Patience(within_s)
    while True:
        try:
            return await ask()
        except StoreError as refusal:
            await patience.pause(refusal)
