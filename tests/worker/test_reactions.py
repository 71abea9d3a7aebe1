"""What a worker does when the store refuses: one test a row of the reaction table, on a server of the test's own."""

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from shared.log.events import Event
from shared.log.keys import Keyspace
from shared.log.position import START
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from shared.store.replies import Deleted
from shared.store.state import Meta
from tests.conftest import missing
from tests.support.pulling import Pulling, key, pulling
from tests.support.redis_server import RedisServer, ServerMissing, running_redis
from tests.support.script import Script, expected
from tests.support.streams import RETENTION
from tests.support.waiting import eventually

__all__ = ()

SCRIPT_S = 2.0


@dataclass(frozen=True, slots=True)
class Own:
    """A worker, and a Redis that the test may break."""

    server: RedisServer
    pulls: Pulling

    async def configure(self, name: str, value: str | int) -> None:
        await self.pulls.store.client.config_set(name, value)

    async def lose_queue(self) -> None:
        """Cut the connection over which the worker waits for its queue's bell."""
        client = self.pulls.store.client

        async def is_cut() -> bool:
            waiting = [each["id"] for each in await client.client_list() if each["cmd"] == "blpop"]
            for name in waiting:
                await client.client_kill_filter(_id=name)
            return bool(waiting)

        await eventually(is_cut)

    async def ending(self, stream_id: str) -> Event:
        """The last event, as a tail gets it: without memory a stream that is over may be evicted a moment later."""
        position, tailer = START, self.pulls.store.tailer()
        try:
            while True:
                news = await tailer.read({stream_id: position}, count=1000, block_ms=1000)
                for entry in news.get(stream_id, ()):
                    if entry.event.is_terminal:
                        return entry.event
                    position = entry.position
        finally:
            await tailer.aclose()

    async def until_refused(self, stream_id: str) -> Meta:
        """Wait until the worker has said that an append was refused."""

        async def was_refused() -> bool:
            return "append refused" in self.pulls.workers[0].log

        await eventually(was_refused)
        return await self.pulls.meta(stream_id)


@pytest.fixture
async def own() -> AsyncIterator[Own]:
    keys = Keyspace("reactions")
    try:
        with running_redis("redis7", appendonly=True) as server:
            store = RedisStore(open_client(server.url), keys)
            async with pulling(store, server.url, keys, workers=1, store_stall_s=3, lease_s=10, heartbeat_s=1) as pulls:
                yield Own(server, pulls)
            await store.aclose()
    except ServerMissing as reason:
        missing(str(reason))


async def test_a_queue_that_is_lost_again_and_again_is_found_as_soon_each_time(own: Own) -> None:
    """Pauses grow while it cannot be reached, not with all that ever went wrong."""
    for _ in range(6):
        await own.lose_queue()
        stream_id = await own.pulls.create(Script(key(), chunks=1))
        await own.pulls.until_over(stream_id, within_s=2.5)


@pytest.mark.parametrize(
    ("name", "refusing", "well"), [("maxmemory", 1, 0), ("min-replicas-to-write", 1, 0)], ids=["OOM", "NOREPLICAS"]
)
async def test_a_refusal_that_passes_is_waited_out(own: Own, name: str, refusing: int, well: int) -> None:
    script = Script(key(), chunks=200, rate=100)
    stream_id = await own.pulls.create(script)
    await own.pulls.until_tail(stream_id, 100)

    await own.configure(name, refusing)
    await own.until_refused(stream_id)
    await own.configure(name, well)
    meta = await own.pulls.until_over(stream_id)

    assert meta.status == "done"
    assert len(meta.fences) == 1
    assert await own.pulls.parts(stream_id) == expected(script)


async def test_a_refusal_that_stays_ends_the_stream_loudly(own: Own) -> None:
    stream_id = await own.pulls.create(Script(key(), chunks=2000, rate=100))
    await own.pulls.until_tail(stream_id, 100)

    await own.configure("maxmemory", 1)
    ending = await own.ending(stream_id)

    assert ending.kind == "error"
    assert ending.fields()["code"] == "store_full"


async def test_a_restarted_store_is_written_on(own: Own) -> None:
    script = Script(key(), chunks=300, rate=100)
    stream_id = await own.pulls.create(script)
    await own.pulls.until_tail(stream_id, 100)

    own.server.restart()
    meta = await own.pulls.until_over(stream_id)

    assert meta.status == "done"
    assert await own.pulls.parts(stream_id) == expected(script)


async def test_a_store_without_our_functions_gets_them_back(own: Own) -> None:
    script = Script(key(), chunks=200, rate=100)
    stream_id = await own.pulls.create(script)
    await own.pulls.until_tail(stream_id, 100)

    await own.pulls.store.client.execute_command("FUNCTION", "FLUSH", "SYNC")  # type: ignore[no-untyped-call]
    await own.pulls.until_over(stream_id)

    assert await own.pulls.parts(stream_id) == expected(script)


async def test_a_deleted_stream_frees_its_worker_and_its_provider(own: Own) -> None:
    stream_id = await own.pulls.create(Script(key(), chunks=2000, rate=100))
    await own.pulls.until_tail(stream_id, 100)

    deleted_at = time.time()
    assert await own.pulls.store.delete(stream_id, RETENTION) == Deleted()

    async def provider_was_closed() -> bool:
        return any(seen["closed_ms"] and not seen["finished"] for seen in own.pulls.providers[0].seen())

    await eventually(provider_was_closed, within_s=2.0)
    (seen,) = own.pulls.providers[0].seen()
    assert seen["closed_ms"] / 1000 - deleted_at < SCRIPT_S
