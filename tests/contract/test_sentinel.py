"""Who follows the Sentinels leaves the old master as soon as they name another one, planned or not."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, cast

import pytest

from shared.errors import StoreError, StoreFull
from shared.log.position import START
from shared.store.redis.client import open_client
from shared.store.redis.sentinel.opinion import Opinion
from shared.store.redis.store import RedisStore
from shared.store.store import Tailer
from tests.conftest import missing, own_keyspace
from tests.support.redis_server import ServerMissing
from tests.support.sentinel import SentinelGroup
from tests.support.streams import begin, create, log, write
from tests.support.waiting import eventually

__all__ = ()

pytestmark = pytest.mark.timeout(90)
# Longest that anybody may stay at the old master, once the Sentinels name another one.
LEAVE_S = 2.0


@asynccontextmanager
async def sentinels(*args: str) -> AsyncIterator[SentinelGroup]:
    try:
        group = SentinelGroup(args=args)
    except ServerMissing as reason:
        missing(str(reason))
    async with group:
        yield group


@asynccontextmanager
async def watched(group: SentinelGroup) -> AsyncIterator[RedisStore]:
    store = RedisStore(open_client(group.url), own_keyspace())
    async with asyncio.TaskGroup() as tasks:
        watch = tasks.create_task(store.watch())
        try:
            yield store
        finally:
            watch.cancel()
            await store.aclose()


async def port_of(store: RedisStore) -> int | None:
    with suppress(StoreError, OSError):
        info: dict[str, Any] = await cast("Any", store.client).info("server")
        return int(info["tcp_port"])
    return None


async def until_elsewhere(group: SentinelGroup, *stores: RedisStore) -> float:
    """Fail over as an operator does. Seconds from when the Sentinels name the new master until all stores are there."""
    old = await group.master()
    await group.fail_over()

    async def names_another() -> bool:
        return await group.master() is not old

    await eventually(names_another, within_s=10)
    named_at = time.monotonic()
    new = await group.master()
    for store in stores:

        async def is_there(store: RedisStore = store) -> bool:
            return await port_of(store) == new.port

        await eventually(is_there, within_s=15)
    return time.monotonic() - named_at


async def test_a_planned_failover_is_followed_within_two_seconds() -> None:
    async with sentinels() as group, watched(group) as store:
        stream_id = await begin(store)
        await write(store, stream_id, "before")
        assert await until_elsewhere(group, store) < LEAVE_S
        await write(store, stream_id, " after", tail=6)
        assert [entry.event.value for entry in await log(store, stream_id)][1:] == [b"before", b" after"]
        assert (await group.client((await group.master()).port).info("server"))["tcp_port"] == await port_of(store)


async def test_a_waiting_reader_is_cut_loose_from_the_old_master() -> None:
    """It would wait there for news that are told elsewhere."""
    async with sentinels() as group, watched(group) as store:
        stream_id = await begin(store)
        tailer = store.tailer()
        async with asyncio.TaskGroup() as tasks:
            reading = tasks.create_task(_failure(tailer, stream_id))
            await until_elsewhere(group, store)
            async with asyncio.timeout(LEAVE_S):
                assert isinstance(await reading, StoreError)
        await tailer.aclose()


async def _failure(tailer: Tailer, stream_id: str) -> object:
    position = START
    try:
        while True:
            news = await tailer.read({stream_id: position}, count=10, block_ms=20_000)
            position = news[stream_id][-1].position
    except StoreError as error:
        return error


async def test_a_master_without_replicas_makes_everybody_ask_again() -> None:
    """Its replica was promoted, and NOREPLICAS is all it says. The new one writes when it has a replica itself."""
    careful = ("--min-replicas-to-write", "1", "--min-replicas-max-lag", "10")
    async with sentinels(*careful) as group, watched(group) as store:
        stream_id = await create(store)
        assert await until_elsewhere(group, store) < LEAVE_S
        new = await group.master()

        async def writes() -> bool:
            with suppress(StoreError):
                await create(store)
                return True
            return False

        await eventually(writes, within_s=20, every_s=0.02)
        assert await port_of(store) == new.port
        assert await store.meta(stream_id) is not None


async def test_noreplicas_is_a_hint_to_ask_at_once() -> None:
    async with sentinels() as group:
        store = RedisStore(open_client(group.url), own_keyspace())
        stream_id = await begin(store)
        pool = cast("Any", store.client.connection_pool)
        await group.command((await group.master()).port, "CONFIG", "SET", "min-replicas-to-write", 2)
        for call in (lambda: create(store), lambda: write(store, stream_id, "x")):
            pool._hint.clear()
            with pytest.raises(StoreFull):
                await call()
            assert pool._hint.is_set()
        await store.aclose()


async def test_an_older_opinion_does_not_lead_back() -> None:
    """The Sentinels hear of a failover one after the other."""
    async with sentinels() as group:
        store = RedisStore(open_client(group.url), own_keyspace())
        await store.ping()
        pool = cast("Any", store.client.connection_pool)
        here = pool.master_address
        pool._adopt(Opinion(10_000, ("127.0.0.1", 1)))
        assert pool.master_address == ("127.0.0.1", 1)
        assert await pool.get_master_address() == ("127.0.0.1", 1) != here
        await store.aclose()


@pytest.mark.parametrize(
    ("named", "state", "opinion"),
    [
        (("h", 1), {"ip": "h", "port": 1, "config-epoch": 3}, Opinion(3, ("h", 1))),
        (("h", 1), {"ip": "h", "port": 1, "config-epoch": 3, "is_sdown": True}, Opinion(3, ("h", 1), is_down=True)),
        (("h", 2), {"ip": "h", "port": 1, "config-epoch": 4, "is_odown": True}, Opinion(4, ("h", 2))),
        (None, {"config-epoch": 1}, None),
        (("h", 1), Exception("ERR No such master with that name"), None),
    ],
)
def test_opinions(named: Any, state: Any, opinion: Opinion | None) -> None:
    assert Opinion.of(named, state) == opinion


def test_the_newest_opinion_is_the_largest() -> None:
    assert max(Opinion(1, ("z", 9)), Opinion(2, ("a", 1))).address == ("a", 1)
