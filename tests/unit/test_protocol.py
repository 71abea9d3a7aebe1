"""What a connection makes of its bytes, however they are cut into reads."""

import asyncio
import socket
from itertools import pairwise

import pytest

from tests.support.connection import accepted

__all__ = ()

TOO_LARGE = b"GET /livez HTTP/1.1\r\nhost: t\r\nx-large: " + b"x" * 300_000 + b"\r\n\r\n"
CUTS = [[], [10], [65_536], [65_536, 131_072], [140_000], [-4], [-1], [65_536, 131_072, -4]]


async def received(theirs: socket.socket) -> bytes:
    """All that the connection says until it ends its half."""
    loop, got = asyncio.get_running_loop(), b""
    async with asyncio.timeout(10):
        while data := await loop.sock_recv(theirs, 65_536):
            got += data
    return got


@pytest.mark.parametrize("cuts", CUTS, ids=str)
async def test_a_head_that_is_too_large_is_refused_once_wherever_it_is_cut(cuts: list[int]) -> None:
    """How many reads it takes is the kernel's choice, so here each read is given."""
    bounds = [0, *(cut % len(TOO_LARGE) for cut in cuts), len(TOO_LARGE)]
    async with accepted() as (protocol, theirs):
        for start, end in pairwise(bounds):
            protocol.data_received(TOO_LARGE[start:end])
        answer = await received(theirs)
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert answer.count(b"HTTP/1.1 ") == 1
