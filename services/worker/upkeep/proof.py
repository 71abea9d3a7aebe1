"""A worker that Redis would not let do its work takes none, and is not ready."""

import asyncio
import contextlib
import logging
from typing import Final

from shared.errors import StoreDenied, StoreError
from shared.store.store import Store

__all__ = ("is_admitted", "until_proven")

logger = logging.getLogger(__name__)

_RETRY_S: Final = 1.0


async def is_admitted(store: Store, stopping: asyncio.Event) -> bool:
    """Wait while the store denies what a worker needs. False if it is to stop before that.

    A store that is away denies nothing: it may come later, and then it is looked at again (`until_proven`).
    """
    told = ""
    while not stopping.is_set():
        refusal = await _refusal(store)
        if not isinstance(refusal, StoreDenied):
            return True
        if refusal.message != told:
            logger.error("this worker takes no streams yet: %s", refusal.message)
            told = refusal.message
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RETRY_S):
                await stopping.wait()
    return False


async def until_proven(store: Store) -> None:
    """Wait until the store has been reached and grants all that a worker needs."""
    while True:
        if await _refusal(store) is None:
            return
        await asyncio.sleep(_RETRY_S)


async def _refusal(store: Store) -> StoreError | None:
    try:
        await store.prove("worker")
    except StoreError as error:
        return error
    return None
