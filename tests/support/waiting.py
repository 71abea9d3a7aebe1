"""Waiting for a state, never for a time."""

import asyncio
from collections.abc import Awaitable, Callable

__all__ = ("eventually",)


async def eventually(holds: Callable[[], Awaitable[bool]], *, within_s: float = 5.0, every_s: float = 0.005) -> None:
    """Ask again and again until it holds; `TimeoutError` if it does not in time."""
    async with asyncio.timeout(within_s):
        while True:
            if await holds():
                return
            await asyncio.sleep(every_s)
