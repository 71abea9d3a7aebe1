"""A master that is demoted by a plain `REPLICAOF` keeps its connections and answers what only reads.

Its own link is cut as well, so what it answers is of the past for ever. The address leads to the new master by then.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, cast

import pytest
from redis.asyncio import Redis

from shared.errors import StoreError, StoreReadOnly
from shared.log.events import LogEntry
from shared.log.position import START
from shared.store.redis.cancels import RedisCancelListener
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from shared.store.state import Snapshot
from shared.store.store import Store
from tests.conftest import own_keyspace, own_server
from tests.support.proxy import Proxy, proxied
from tests.support.redis_server import RedisServer, ServerKind, free_port
from tests.support.sentinel import sentinel_of
from tests.support.streams import RETENTION, begin, create, nonce, write
from tests.support.waiting import eventually

__all__ = ()

# A look a second, and a moment for what comes after it.
SOON_S: Final = 3.0
BLOCK_MS: Final = 200
LONG_MS: Final = 20_000
# So many reads of one kind are far more than looks at the master, which come once a second.
LEAST_READS: Final = 100
# Redis would wait five seconds for more replicas.
AT_ONCE: Final = ("--repl-diskless-sync-delay", "0")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two servers and an address. `store` uses the address; `there` is the new master, once it is one."""

    old: RedisServer
    new: RedisServer
    address: Proxy
    store: RedisStore
    there: RedisStore

    async def demote(self) -> None:
        """The old master becomes the replica of nobody. Who is connected stays so."""
        await tell(self.old.port, "REPLICAOF", "127.0.0.1", free_port())

    async def turn(self) -> None:
        """The roles change without a loss, and whoever connects from now on comes to the new master."""
        await eventually(self.is_replicated)
        await tell(self.new.port, "REPLICAOF", "NO", "ONE")
        await self.demote()
        self.address.target_port = self.new.port

    async def is_replicated(self) -> bool:
        async with raw(self.old.port) as above, raw(self.new.port) as below:
            master, replica = await above.info("replication"), await below.info("replication")
        return bool(master["master_repl_offset"] == replica.get("slave_repl_offset"))


@asynccontextmanager
async def raw(port: int) -> AsyncIterator[Any]:
    client = Redis(port=port)
    try:
        yield client
    finally:
        await client.aclose()


async def tell(port: int, *words: str | int) -> Any:
    async with raw(port) as client:
        return await client.execute_command(*words)


@pytest.fixture
async def pair(redis_kind: ServerKind) -> AsyncIterator[Pair]:
    async with own_server(redis_kind, args=AT_ONCE) as old, own_server(redis_kind) as new, proxied(old.port) as address:
        keys = own_keyspace()
        store = RedisStore(open_client(f"redis://127.0.0.1:{address.port}/0"), keys)
        there = RedisStore(open_client(new.url), keys)
        pair = Pair(old, new, address, store, there)
        await store.load()
        await tell(new.port, "REPLICAOF", "127.0.0.1", old.port)
        await eventually(pair.is_replicated, within_s=15)
        try:
            yield pair
        finally:
            await store.aclose()
            await there.aclose()


class Following:
    """A tail that goes on where it was, over as many tailers as it takes."""

    def __init__(self, store: Store, stream_id: str) -> None:
        self.entries: list[LogEntry] = []
        self.errors: list[StoreError] = []
        self._store = store
        self._id = stream_id
        self._tailer = store.tailer()

    async def read(self, *, block_ms: int = BLOCK_MS) -> None:
        position = self.entries[-1].position if self.entries else START
        try:
            news = await self._tailer.read({self._id: position}, count=100, block_ms=block_ms)
        except StoreError as error:
            self.errors.append(error)
            await self.aclose()
            self._tailer = self._store.tailer()
            return
        self.entries += news.get(self._id, ())

    async def aclose(self) -> None:
        await self._tailer.aclose()

    def texts(self) -> Sequence[bytes]:
        return [entry.event.value for entry in self.entries if entry.event.kind == "text"]


async def test_a_tail_follows_the_stream_to_the_new_master(pair: Pair) -> None:
    stream_id = await begin(pair.store)
    following = Following(pair.store, stream_id)
    tail = await write(pair.store, stream_id, "before ")
    await following.read()
    assert following.texts() == [b"before "]
    await pair.turn()
    await write(pair.there, stream_id, "after", tail=tail)

    async def has_news() -> bool:
        await following.read()
        return len(following.texts()) > 1

    await eventually(has_news, within_s=SOON_S)
    await following.read()
    await following.aclose()
    assert following.texts() == [b"before ", b"after"]
    assert {type(error) for error in following.errors} == {StoreReadOnly}


async def test_a_tail_finds_an_address_that_moves_late(pair: Pair) -> None:
    """Meanwhile it is refused: it must not take its place on the replica again."""
    stream_id = await begin(pair.store)
    following = Following(pair.store, stream_id)
    await following.read()
    await eventually(pair.is_replicated)
    await tell(pair.new.port, "REPLICAOF", "NO", "ONE")
    await pair.demote()
    await write(pair.there, stream_id, "after")
    until = time.monotonic() + SOON_S
    while time.monotonic() < until and len(following.errors) < 5:
        await following.read()
    assert {type(error) for error in following.errors} == {StoreReadOnly}
    pair.address.target_port = pair.new.port
    await following.read()
    await following.aclose()
    assert following.texts() == [b"after"]


async def test_a_tail_asks_the_sentinel_again(pair: Pair) -> None:
    """It is told of the new master by hand, as by a script of ours, so it disconnects nobody."""
    async with sentinel_of(pair.old) as url:
        store = RedisStore(open_client(url), pair.store.keys)
        await eventually(lambda: answers(store))
        stream_id = await begin(store)
        following = Following(store, stream_id)
        await following.read()
        await store.meta(stream_id)
        sentinel = int(url.rsplit(":", 1)[1].partition("/")[0])
        await pair.turn()
        await tell(sentinel, "SENTINEL", "REMOVE", "main")
        await tell(sentinel, "SENTINEL", "MONITOR", "main", "127.0.0.1", pair.new.port, 1)
        await write(pair.there, stream_id, "after")

        async def has_news() -> bool:
            await following.read()
            return bool(following.texts())

        await eventually(has_news, within_s=SOON_S)
        assert await tail_in_meta(store, stream_id) == 5
        await following.aclose()
        await store.aclose()
    assert following.texts() == [b"after"]
    assert {type(error) for error in following.errors} == {StoreReadOnly}


async def answers(store: RedisStore) -> bool:
    with suppress(StoreError):
        await store.ping()
        return True
    return False


async def page(store: RedisStore, stream_id: str) -> int:
    snapshot = await store.read(stream_id, START, limit=100)
    assert isinstance(snapshot, Snapshot)
    return snapshot.entries[-1].position.offset


async def tail_in_meta(store: RedisStore, stream_id: str) -> int:
    meta = await store.meta(stream_id)
    assert meta is not None
    return meta.tail


@pytest.mark.parametrize("look", [page, tail_in_meta])
async def test_calls_that_only_read_come_to_the_new_master(
    pair: Pair, look: Callable[[RedisStore, str], Awaitable[int]]
) -> None:
    """The one on the read pipe, the other over a pooled connection."""
    stream_id = await begin(pair.store)
    await write(pair.store, stream_id, "before ")
    assert await look(pair.store, stream_id) == 7
    await pair.turn()
    await write(pair.there, stream_id, "after", tail=7)

    async def sees_news() -> bool:
        with suppress(StoreReadOnly):
            return await look(pair.store, stream_id) == 12
        return False

    await eventually(sees_news, within_s=SOON_S)


async def test_where_one_connection_was_left_by_its_master_the_others_look_at_once(pair: Pair) -> None:
    """After a failure the tail compares its feeds with Redis, and must not be answered by whom it has just left.

    Who is idle is connected anew, so that nobody is refused because of a failover that is over.
    """
    stream_id = await begin(pair.store)
    following = Following(pair.store, stream_id)
    await following.read()
    pool = pair.store.client.connection_pool
    busy = await pool.get_connection()
    await busy.send_command("PING")
    await busy.read_response()
    await asyncio.gather(page(pair.store, stream_id), *(tail_in_meta(pair.store, stream_id) for _ in range(3)))
    async with asyncio.TaskGroup() as group:
        group.create_task(following.read(block_ms=LONG_MS))
        await eventually(lambda: is_waiting(pair.old))
        await pair.turn()
    assert [type(error) for error in following.errors] == [StoreReadOnly]
    await write(pair.there, stream_id, "after")
    assert await page(pair.store, stream_id) == 5
    looks = [tail_in_meta(pair.store, stream_id) for _ in range(3)]
    assert await asyncio.gather(*looks) == [5, 5, 5]
    await pool.release(busy)
    with pytest.raises(StoreReadOnly):
        await tail_in_meta(pair.store, stream_id)
    assert await tail_in_meta(pair.store, stream_id) == 5
    await following.aclose()


async def is_waiting(server: RedisServer) -> bool:
    async with raw(server.port) as client:
        return bool((await client.info("clients"))["blocked_clients"])


async def test_an_address_that_leads_to_a_replica_is_refused_from_the_start(pair: Pair) -> None:
    """With a code that says so, in every way that one can read; and with a master there everything goes on."""
    stream_id = await begin(pair.store)
    await eventually(pair.is_replicated)
    async with store_at(pair.new, pair.store) as store:
        tailer, listener = store.tailer(), store.cancellations()
        for call in (
            lambda: store.meta(stream_id),
            lambda: store.read(stream_id, START, limit=1),
            lambda: store.present([stream_id]),
            store.usage,
            store.statistics,
            store.load,
            store.ping,
            store.server,
            lambda: create(store),
            lambda: tailer.read({stream_id: START}, count=1, block_ms=BLOCK_MS),
            listener.next,
        ):
            with pytest.raises(StoreReadOnly):
                await cast("Any", call())
        await tell(pair.new.port, "REPLICAOF", "NO", "ONE")
        assert (await tailer.read({stream_id: START}, count=1, block_ms=BLOCK_MS))[stream_id]
        assert await store.meta(stream_id) is not None
        await tailer.aclose()
        await listener.aclose()


@asynccontextmanager
async def store_at(server: RedisServer, like: RedisStore) -> AsyncIterator[RedisStore]:
    store = RedisStore(open_client(server.url), like.keys)
    try:
        yield store
    finally:
        await store.aclose()


async def test_a_stop_is_heard_after_the_master_was_demoted(pair: Pair) -> None:
    """Redis tells nothing of its role to who has subscribed, so a channel that is silent is opened anew."""
    stream_id = await begin(pair.store)
    listener = RedisCancelListener(pair.store.client, pair.store.keys, silence_s=0.2)
    async with asyncio.TaskGroup() as group:
        heard = group.create_task(until_heard(listener))
        await eventually(lambda: has_subscriber(pair.old, pair.store))
        await pair.turn()

        async def is_heard() -> bool:
            await pair.there.cancel(stream_id, attempt=None, nonce=nonce(9), retention=RETENTION)
            return heard.done()

        await eventually(is_heard, within_s=SOON_S)
    await listener.aclose()
    assert heard.result() == stream_id


async def until_heard(listener: RedisCancelListener) -> str:
    while True:
        with suppress(StoreReadOnly):
            return await listener.next()


async def has_subscriber(server: RedisServer, store: RedisStore) -> bool:
    (_, subscribers) = await tell(server.port, "PUBSUB", "NUMSUB", store.keys.cancels)
    return bool(subscribers)


async def test_a_look_costs_one_command_a_second_and_connection(pair: Pair) -> None:
    """However often is read, and none but the reads is sent for it."""
    stream_id = await begin(pair.store)
    tailer = pair.store.tailer()

    async def keep(read: Callable[[], Awaitable[object]]) -> int:
        reads = 0
        while time.monotonic() < until or reads <= LEAST_READS:
            await read()
            reads += 1
        return reads

    await tell(pair.old.port, "CONFIG", "RESETSTAT")
    began = time.monotonic()
    until = began + 2.5
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(keep(partial(tailer.read, {stream_id: START}, count=1, block_ms=None))),
            group.create_task(keep(partial(pair.store.read, stream_id, START, limit=1))),
            group.create_task(keep(partial(pair.store.meta, stream_id))),
        ]
    took_s = time.monotonic() - began
    await tailer.aclose()
    async with raw(pair.old.port) as client:
        calls = {name: each["calls"] for name, each in (await client.info("commandstats")).items()}
        connections = (await client.info("stats"))["total_connections_received"]
    # Those of the test itself open with two commands of their own and look at nothing.
    assert 3 <= calls["cmdstat_hello"] <= connections * (took_s + 1)
    # A look for each read would be as many.
    assert calls["cmdstat_hello"] < 0.5 * sum(task.result() for task in tasks)
