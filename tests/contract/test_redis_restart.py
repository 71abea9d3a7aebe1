"""Redis comes back: with its data, without its data, without our functions, or as another node."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from shared.errors import StoreError, StoreUnavailable
from shared.log.position import START, Position
from shared.store.calls import Append
from shared.store.redis.client import open_client
from shared.store.redis.library import FUNCTIONS, Library
from shared.store.redis.store import RedisStore
from shared.store.replies import Appended, Gone
from tests.conftest import own_keyspace, own_server
from tests.support.redis_server import ServerKind
from tests.support.sentinel import sentinel_of
from tests.support.streams import RETENTION, append, begin, claim, log, nonce, texts, write
from tests.support.waiting import eventually

__all__ = ()

# With `everysec` a write waits while an fsync is under way, and a kill can lose what was answered.
DURABLE = ("--appendonly", "yes", "--appendfsync", "always")
# Redis would wait five seconds for more replicas.
AT_ONCE = ("--repl-diskless-sync-delay", "0")


@asynccontextmanager
async def store_on(url: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(open_client(url), own_keyspace())
    try:
        yield store
    finally:
        await store.aclose()


async def flush_functions(store: RedisStore) -> None:
    await cast("Any", store.client).function_flush("SYNC")


async def test_functions_that_are_gone_are_loaded_by_the_call_itself(redis_kind: ServerKind) -> None:
    async with own_server(redis_kind) as server, store_on(server.url) as store:
        assert not await store.is_loaded()
        stream_id, other = await begin(store), await begin(store)
        assert await store.is_loaded()
        await flush_functions(store)
        calls = [Append(name, nonce(1), 0, texts("hi"), 2) for name in (stream_id, other)]
        assert [type(reply) for reply in await store.append(calls, RETENTION)] == [Appended, Appended]
        await flush_functions(store)
        assert len(await log(store, stream_id)) == 2


async def test_loading_twice_is_harmless(redis_kind: ServerKind) -> None:
    async with own_server(redis_kind) as server, store_on(server.url) as store:
        await asyncio.gather(*(store.load() for _ in range(3)))
        library = Library.read()
        (loaded,) = await cast("Any", store.client).function_list(library.name)
        functions = dict(zip(loaded[::2], loaded[1::2], strict=True))[b"functions"]
        assert len(functions) == len(FUNCTIONS)


async def test_two_versions_live_side_by_side(redis_kind: ServerKind) -> None:
    """As in a rolling deploy: another library under its own name replaces nothing."""
    async with own_server(redis_kind) as server, store_on(server.url) as store:
        stream_id = await begin(store)
        library = Library.read()
        await Library("tailrace_other", library.source.replace(library.name, "tailrace_other")).load(store.client)
        assert await write(store, stream_id, "hi") == 2
        assert len(await cast("Any", store.client).function_list()) == 2


@pytest.mark.parametrize("kill", ["kill", "stop"])
async def test_with_its_data_everything_goes_on(redis_kind: ServerKind, kill: str) -> None:
    async with own_server(redis_kind, args=DURABLE) as server, store_on(server.url) as store:
        stream_id = await begin(store)
        await write(store, stream_id, "before ")
        getattr(server, kill)()
        with pytest.raises(StoreUnavailable):
            await store.meta(stream_id)
        await asyncio.to_thread(server.start)
        assert await store.is_loaded()
        assert await write(store, stream_id, "after", tail=7) == 12
        assert b"".join(entry.event.value for entry in (await log(store, stream_id))[1:]) == b"before after"


async def test_without_its_data_every_stream_is_gone(redis_kind: ServerKind) -> None:
    async with own_server(redis_kind) as server, store_on(server.url) as store:
        stream_id = await begin(store)
        await asyncio.to_thread(server.restart)
        await eventually(lambda: answers(store))
        assert await append(store, stream_id, texts("late")) == Gone()
        assert await store.read(stream_id, START, limit=1) is None
        assert await store.client.exists(store.keys.stream(stream_id)) == 0
        await begin(store)


async def answers(store: RedisStore) -> bool:
    try:
        await store.ping()
    except StoreError:
        return False
    return True


async def test_a_tailer_finds_redis_again(redis_kind: ServerKind) -> None:
    async with own_server(redis_kind, args=DURABLE) as server, store_on(server.url) as store:
        stream_id = await begin(store)
        tailer = store.tailer()
        assert await tailer.read({stream_id: START}, count=1, block_ms=None)
        server.kill()
        with pytest.raises(StoreUnavailable):
            await tailer.read({stream_id: START}, count=1, block_ms=1000)
        with pytest.raises(StoreUnavailable):
            await tailer.read({stream_id: START}, count=1, block_ms=1000)
        await asyncio.to_thread(server.start)
        assert await tailer.read({stream_id: START}, count=1, block_ms=1000)
        await tailer.aclose()


async def test_a_stream_that_lost_its_log_is_gone(redis_kind: ServerKind) -> None:
    """Whoever deletes one key of a stream by hand gets no half stream."""
    async with own_server(redis_kind) as server, store_on(server.url) as store:
        stream_id = await begin(store, lease_ms=-1)
        await store.client.delete(store.keys.stream(stream_id))
        assert await append(store, stream_id, texts("late")) == Gone()
        assert await store.present([stream_id]) == []
        assert await store.cancel(stream_id, attempt=None, nonce=nonce(2), retention=RETENTION) == Gone()
        assert await store.finish(stream_id, texts("x")[0], nonce=nonce(2), retention=RETENTION) == Gone()
        assert await claim(store, stream_id, 2) == Gone()
        assert await store.client.exists(store.keys.stream(stream_id)) == 0
        assert await store.due(limit=10) == []


@pytest.mark.slow
async def test_a_sentinel_leads_to_the_new_master(redis_kind: ServerKind) -> None:
    async with (
        own_server(redis_kind, args=AT_ONCE) as old,
        own_server(redis_kind) as replica,
        Redis(port=replica.port) as look,
    ):
        await look.execute_command("REPLICAOF", "127.0.0.1", old.port)  # type: ignore[no-untyped-call]

        async def is_in_sync() -> bool:
            return bool((await look.info("replication"))["master_link_status"] == "up")

        async with sentinel_of(old) as url, store_on(url) as store:
            await eventually(lambda: answers(store))
            await eventually(is_in_sync)
            stream_id = await begin(store)
            await write(store, stream_id, "before ")
            tailer = store.tailer()
            assert await tailer.read({stream_id: START}, count=10, block_ms=None)
            await store.client.wait(1, 1000)
            await eventually(lambda: knows_replica(url), within_s=20)
            old.kill()

            async def writes() -> bool:
                try:
                    return bool(await write(store, stream_id, "after", tail=7))
                except StoreError:
                    return False

            await eventually(writes, within_s=20, every_s=0.05)
            entries = await log(store, stream_id)
            assert entries[-1].position == Position(1, 12)
            with pytest.raises(StoreUnavailable):
                await tailer.read({stream_id: START}, count=10, block_ms=None)
            assert len((await tailer.read({stream_id: START}, count=10, block_ms=None))[stream_id]) == 3
            await tailer.aclose()


async def knows_replica(url: str) -> bool:
    port = url.rsplit(":", 1)[1].partition("/")[0]
    async with store_on(f"redis://127.0.0.1:{port}/0") as sentinel:
        found = await sentinel.client.execute_command("SENTINEL", "REPLICAS", "main")  # type: ignore[no-untyped-call]
    return len(found) == 1
