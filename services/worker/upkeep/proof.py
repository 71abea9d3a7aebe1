"""A worker that Redis would not let do its work takes none."""

import asyncio
import contextlib
import logging
from typing import Final

from shared.errors import StoreError
from shared.store.store import Store

__all__ = ("until_proven",)

logger = logging.getLogger(__name__)

_RETRY_S: Final = 1.0


async def until_proven(store: Store, stopping: asyncio.Event) -> bool:
    """Wait until the store has been reached and grants all that a worker needs. False if it is to stop before that."""
    told = ""
    while not stopping.is_set():
        refusal = await _refusal(store)
        if refusal is None:
            return True
        if refusal != told:
            logger.error("this worker takes no streams yet: %s", refusal)
            told = refusal
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RETRY_S):
                await stopping.wait()
    return False


async def _refusal(store: Store) -> str | None:
    try:
        await store.prove("worker")
    except StoreError as error:
        return error.message
    return None
