"""Do the edges answer, and would they take readers?"""

import asyncio
from collections.abc import Sequence
from typing import Final

import aiohttp

from services.cli.checks.finding import Finding, failed, ok

__all__ = ("check_edges",)

_ASK_S: Final = 3.0


async def check_edges(urls: Sequence[str]) -> Sequence[Finding]:
    """One finding an edge."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ASK_S)) as session:
        return await asyncio.gather(*(_check(session, url.rstrip("/")) for url in urls))


async def _check(session: aiohttp.ClientSession, url: str) -> Finding:
    name = f"edge {url}"
    try:
        async with session.get(f"{url}/readyz") as response:
            if response.status == 200:
                return ok(name, "ready")
            return failed(name, f"not ready ({response.status})", f"curl {url}/readyz says why")
    except (aiohttp.ClientError, TimeoutError, OSError):
        return failed(name, "no answer", "is it running? tailrace edge --port …, or tailrace up")
