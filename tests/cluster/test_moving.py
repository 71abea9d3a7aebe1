"""Streams whose slot goes from one node to another, call by call."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from shared.errors import StoreBusy, StoreUnavailable
from shared.log.keys import bucket_of
from shared.log.position import START, Position
from shared.store.calls import Append
from shared.store.redis.client import open_client
from shared.store.redis.library import Library
from shared.store.redis.store import RedisStore
from shared.store.replies import Appended, Held
from tests.support.redis_cluster import RedisCluster
from tests.support.redis_server import RedisServer
from tests.support.streams import RETENTION, append, begin, claim, end, log, nonce, texts, write
from tests.support.waiting import eventually

__all__ = ()

LONG_MS = 20_000


@asynccontextmanager
async def moving(cluster: RedisCluster, stream_id: str) -> AsyncIterator[tuple[RedisServer, RedisServer]]:
    """While this lasts the slot is on its way: nothing has been moved yet. Then it is where it was."""
    slot = cluster.slot(bucket_of(stream_id))
    source = await cluster.owner(slot)
    target = next(node for node in cluster.nodes if node is not source)
    await cluster.open_move(slot, source, target)
    try:
        yield source, target
    finally:
        await cluster.carry_keys(slot, source, target)
        await cluster.close_move(slot, target)
        await cluster.move(slot, source)


async def test_calls_follow_a_slot(cluster: RedisCluster, cluster_store: RedisStore) -> None:
    """A client that has drawn its map before learns of the move from the refusals."""
    stream_id = await begin(cluster_store)
    await write(cluster_store, stream_id, "before")
    slot = cluster.slot(bucket_of(stream_id))
    source = await cluster.owner(slot)
    for node in (*(each for each in cluster.nodes if each is not source), source):
        await cluster.move(slot, node)
        meta = await cluster_store.meta(stream_id)
        assert meta is not None
        assert isinstance(await append(cluster_store, stream_id, texts("x"), tail=meta.tail), Appended)
        assert await cluster_store.present([stream_id]) == [stream_id]
    assert [entry.event.value for entry in await log(cluster_store, stream_id) if entry.event.kind == "text"] == [
        b"before",
        b"x",
        b"x",
        b"x",
    ]


async def test_a_slot_that_is_on_its_way_is_busy_for_writers_and_only_for_them(
    cluster: RedisCluster, cluster_store: RedisStore
) -> None:
    """With some keys here and some there Redis takes no command about all of them. Nothing of it is done, either."""
    mine, other = (
        await begin(cluster_store, stream_id="00" + "a" * 30),
        await begin(cluster_store, stream_id="01" + "b" * 30),
    )
    await write(cluster_store, mine, "mine")
    async with moving(cluster, mine) as (source, target):
        await cluster.carry(source, target, cluster_store.keys.meta(mine))
        meta = await cluster_store.meta(mine)
        assert meta is not None
        assert meta.tail == 4
        replies = await cluster_store.append([appending(mine, 4, "more"), appending(other, 0, "theirs")], RETENTION)
        assert isinstance(replies[0], StoreBusy)
        assert isinstance(replies[1], Appended)
        with pytest.raises(StoreBusy):
            await cluster_store.read(mine, START, limit=1)
        assert await cluster_store.present([mine, other]) == [mine, other]
    assert isinstance(await append(cluster_store, mine, texts("more"), tail=4), Appended)


async def test_a_call_waits_for_a_slot_that_arrives_soon(cluster: RedisCluster, cluster_store: RedisStore) -> None:
    stream_id = await begin(cluster_store)
    async with asyncio.TaskGroup() as group, moving(cluster, stream_id) as (source, target):
        await cluster.carry(source, target, cluster_store.keys.meta(stream_id))
        claiming = group.create_task(claim(cluster_store, stream_id, 2))
        await asyncio.sleep(0.1)
        assert not claiming.done()
    assert isinstance(claiming.result(), Held)


async def test_a_tail_reads_on_while_its_slot_moves(cluster: RedisCluster, cluster_store: RedisStore) -> None:
    """A read that waits on the old node is told of the move at its end; what came meanwhile is on the new one."""
    mine, same, other = [await begin(cluster_store, stream_id=f"{head}{'c' * 29}") for head in ("000", "001", "010")]
    tailer = cluster_store.tailer()
    cursors = dict.fromkeys((mine, same, other), Position(1, 0))
    slot = cluster.slot(bucket_of(mine))
    source = await cluster.owner(slot)
    target = next(node for node in cluster.nodes if node is not source)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(tailer.read(cursors, count=10, block_ms=LONG_MS))
        await eventually(lambda: is_blocked(cluster, source))
        await cluster.open_move(slot, source, target)
        await cluster.carry_keys(slot, source, target)
        assert not reading.done()
        await cluster.close_move(slot, target)
    assert not reading.result()
    await write(cluster_store, mine, "new")
    news = await tailer.read(cursors, count=10, block_ms=LONG_MS)
    assert [entry.event.value for entry in news[mine]] == [b"new"]
    await write(cluster_store, other, "other")
    news = await tailer.read(cursors | {mine: Position(1, 3)}, count=10, block_ms=LONG_MS)
    assert list(news) == [other]
    await tailer.aclose()
    await cluster.move(slot, source)


async def test_streams_of_a_slot_that_is_on_its_way_are_read_one_by_one(
    cluster: RedisCluster, cluster_store: RedisStore
) -> None:
    here, there = await begin(cluster_store, stream_id="0" * 32), await begin(cluster_store, stream_id="00" + "1" * 30)
    for stream_id in (here, there):
        await write(cluster_store, stream_id, "text")
    tailer = cluster_store.tailer()
    async with moving(cluster, here) as (source, target):
        await cluster.carry(source, target, cluster_store.keys.stream(there))
        news = await tailer.read({here: START, there: START}, count=10, block_ms=LONG_MS)
        assert {stream_id: len(entries) for stream_id, entries in news.items()} == {here: 2, there: 2}
    await tailer.aclose()


async def test_a_quiet_bucket_is_read_while_another_talks(cluster_store: RedisStore) -> None:
    """Its read waits on over many of ours, and what it brings late is still after the cursor."""
    talker, quiet = (
        await begin(cluster_store, stream_id="0" * 32),
        await begin(cluster_store, stream_id="01" + "0" * 30),
    )
    tailer = cluster_store.tailer()
    cursors = {talker: Position(1, 0), quiet: Position(1, 0)}
    for number in range(5):
        await write(cluster_store, talker, "x", tail=number)
        news = await tailer.read(cursors, count=10, block_ms=LONG_MS)
        assert [entry.position for entry in news[talker]] == [Position(1, number + 1)]
        cursors[talker] = Position(1, number + 1)
    await write(cluster_store, quiet, "at last")
    assert list(await tailer.read(cursors, count=10, block_ms=LONG_MS)) == [quiet]
    await tailer.aclose()


async def test_a_cursor_that_has_moved_gets_no_old_news(cluster_store: RedisStore) -> None:
    talker, jumper = (
        await begin(cluster_store, stream_id="0" * 32),
        await begin(cluster_store, stream_id="01" + "0" * 30),
    )
    tailer = cluster_store.tailer()
    await write(cluster_store, talker, "x")
    await tailer.read({talker: START, jumper: Position(1, 0)}, count=10, block_ms=LONG_MS)
    await write(cluster_store, jumper, "one", "two")
    news = await tailer.read({jumper: Position(1, 3)}, count=10, block_ms=LONG_MS)
    assert [entry.event.value for entry in news[jumper]] == [b"two"]
    await tailer.aclose()


async def test_functions_are_loaded_where_they_are_missing(cluster: RedisCluster, cluster_store: RedisStore) -> None:
    library = Library.read()
    await cluster_store.load()
    for node in cluster.nodes:
        assert await library.is_loaded(cluster.client(node))
    await cluster.command(cluster.nodes[0], "FUNCTION", "DELETE", library.name)
    assert not await cluster_store.is_loaded()
    for bucket in range(16):
        await end(cluster_store, await begin(cluster_store, stream_id=f"{bucket:02x}" + "d" * 30))
    assert await cluster_store.is_loaded()
    await cluster_store.load()


async def test_a_stop_reaches_listeners_on_every_node(cluster_store: RedisStore) -> None:
    """Redis tells what is published on one node to all."""
    listeners = [cluster_store.cancellations() for _ in range(6)]
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        heard = [group.create_task(listener.next()) for listener in listeners]
        await eventually(lambda: has_subscribers(cluster_store, len(listeners)))
        stream_id = await begin(cluster_store)
        await cluster_store.cancel(stream_id, attempt=None, nonce="ffffffff", retention=RETENTION)
    assert {task.result() for task in heard} == {stream_id}
    for listener in listeners:
        await listener.aclose()


async def test_memory_is_that_of_all_masters(cluster: RedisCluster, cluster_store: RedisStore) -> None:
    used = [int((await cluster.client(node).info("memory"))["used_memory"]) for node in cluster.nodes]
    server = await cluster_store.server()
    assert server.used_bytes == pytest.approx(sum(used), rel=0.1)
    assert (server.max_bytes, server.policy) == (0, "noeviction")
    await cluster.command(cluster.nodes[1], "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    assert (await cluster_store.server()).policy == "allkeys-lru"
    await cluster.command(cluster.nodes[1], "CONFIG", "SET", "maxmemory-policy", "noeviction")


async def test_a_cluster_that_nobody_finds() -> None:
    store = RedisStore(open_client("redis+cluster://127.0.0.1:1,127.0.0.1:2", timeout_s=0.5), cast("Any", None))
    with pytest.raises(StoreUnavailable):
        await store.ping()
    await store.aclose()


async def test_a_redis_that_is_no_cluster(redis_url: str) -> None:
    address = redis_url.split("//")[1].split("/")[0]
    store = RedisStore(open_client(f"redis+cluster://{address}"), cast("Any", None))
    with pytest.raises(Exception, match="cluster support disabled"):
        await store.ping()
    await store.aclose()


def appending(stream_id: str, tail: int, text: str) -> Append:
    return Append(stream_id, nonce(1), tail, texts(text), tail + len(text))


async def is_blocked(cluster: RedisCluster, node: RedisServer) -> bool:
    return int((await cluster.client(node).info("clients"))["blocked_clients"]) > 0


async def has_subscribers(store: RedisStore, count: int) -> bool:
    found = 0
    for master in await cast("Any", store.client).router.masters():
        found += (await cast("Any", master).pubsub_numsub(store.keys.cancels))[0][1]
    return found == count
