"""Bodies that drip, break off or never end: bounded in time and size before they are looked at."""

import asyncio
from typing import Any

import pytest
from starlette.requests import Request

from services.edge.api.body import read_json
from shared.errors import BodyTooLarge, InvalidRequest

__all__ = ()


def dripping(body: bytes, *, pause_s: float) -> Request:
    """A request whose body comes byte by byte, and is never finished."""
    left = list(body)

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(pause_s)
        return {"type": "http.request", "body": bytes([left.pop(0)]) if left else b"", "more_body": True}

    return Request({"type": "http", "method": "POST", "headers": []}, receive)


async def test_a_body_that_drips_is_refused_in_time() -> None:
    """However regularly the next byte comes: the bound is for the whole of it."""
    with pytest.raises(InvalidRequest, match=r"did not come within 0\.05 s"):
        await read_json(dripping(b"{" * 1000, pause_s=0.005), max_bytes=1000, within_s=0.05)


async def test_a_body_without_end_is_refused_at_its_limit() -> None:
    with pytest.raises(BodyTooLarge):
        await read_json(dripping(b"[" * 1000, pause_s=0), max_bytes=100, within_s=10)
