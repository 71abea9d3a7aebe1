"""Requests piled up behind live streams, on a real edge: what they cost is measured, and others notice nothing."""

import asyncio
from contextlib import suppress

import pytest

from shared.log import events
from shared.store.redis.store import RedisStore
from tests.support.edge import EdgeProcess, running_edge
from tests.support.sse_client import follow, request
from tests.support.stack import Stack
from tests.support.streams import append, begin, write
from tests.support.waiting import eventually

__all__ = ()

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CONNECTIONS = 20
# 360 KB of requests, which cost 16 MB a connection, and 391 MB all together.
PILE = request("GET", "/v1/stats") * 9_000
MOST_EACH = 256 * 1024


async def pile(edge: EdgeProcess, stream_id: str, *, is_at_once: bool) -> None:
    """A live stream and thousands of requests behind it, until the edge has had enough."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port, limit=1024)
    live = request("GET", f"/v1/streams/{stream_id}/events", headers={"accept": "text/event-stream"})
    with suppress(OSError, asyncio.IncompleteReadError):
        if is_at_once:
            writer.write(live + PILE)
        else:
            writer.write(live)
            await reader.readuntil(b"first")
            writer.write(PILE)
        while await reader.read(65_536):
            pass
    writer.transport.abort()


async def peak_of(edge: EdgeProcess) -> int:
    """The most memory that it takes from now on, until cancelled."""
    most = 0
    with suppress(asyncio.CancelledError):
        while True:
            most = max(most, edge.rss_bytes)
            await asyncio.sleep(0.01)  # a sample of what is over soon
    return most


@pytest.mark.parametrize("is_at_once", [True, False])
async def test_requests_behind_live_streams_cost_little_and_end_their_connection(
    log: RedisStore, broker: Stack, is_at_once: bool
) -> None:
    stream_id = await begin(log, tenant="public")
    tail = await write(log, stream_id, "first")
    common = {name: broker.settings[name] for name in ("redis_url", "prefix", "config")}
    with running_edge(**common) as edge:
        other = asyncio.create_task(follow([edge.port], stream_id))
        await eventually(lambda: _has_readers(edge, 1))
        before = edge.rss_bytes
        watch = asyncio.create_task(peak_of(edge))
        await asyncio.sleep(0)
        async with asyncio.timeout(30):
            await asyncio.gather(*(pile(edge, stream_id, is_at_once=is_at_once) for _ in range(CONNECTIONS)))
        watch.cancel()
        grown = await watch - before
        assert grown / CONNECTIONS < MOST_EACH, grown
        await eventually(lambda: _has_readers(edge, 1))
        tail = await write(log, stream_id, " last", tail=tail)
        await append(log, stream_id, [events.done("stop")], tail=tail)
        async with asyncio.timeout(10):
            assert (await other).text() == "first last"


async def _has_readers(edge: EdgeProcess, count: int) -> bool:
    return await asyncio.to_thread(lambda: edge.readers) == count
