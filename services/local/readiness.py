"""Waiting for what cannot tell us that it is ready: asking again until it is."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import aiohttp

__all__ = ("is_ok", "until")

_ASK_AGAIN_S: Final = 0.05
_DEADLINE_S: Final = 1.0


async def until(check: Callable[[], Awaitable[bool]]) -> None:
    """Return once the check passes. The caller sets the deadline."""
    while not await check():  # noqa: ASYNC110  # the state is another process's: there is no event to wait for
        await asyncio.sleep(_ASK_AGAIN_S)


async def is_ok(url: str) -> bool:
    """Return whether a GET is answered with 200 within a second."""
    timeout = aiohttp.ClientTimeout(total=_DEADLINE_S)
    try:
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError, OSError):
        return False
