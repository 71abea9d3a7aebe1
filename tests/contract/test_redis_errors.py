"""What a real server says when it cannot, and what we make of it: a test for each row of `redis_errors.py`."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from functools import partial
from typing import Any, cast

import pytest

from shared.errors import StoreBusy, StoreDenied, StoreError, StoreFull, StoreMisused, StoreReadOnly, StoreUnavailable
from shared.log.position import START, Position
from shared.store.calls import Append, LeaseRenewal
from shared.store.redis.client import open_client
from shared.store.redis.cluster.connection import NodeConnection
from shared.store.redis.store import RedisStore
from shared.store.replies import Appended, TailMismatch
from tests.conftest import own_keyspace, own_server
from tests.support.lossy_proxy import lossy_proxy
from tests.support.redis_server import RedisServer, ServerKind, free_port
from tests.support.streams import RETENTION, append, begin, claim, create, log, new_stream, nonce, texts, write
from tests.support.waiting import eventually

__all__ = ()

NOBODY = "f" * 32
BUSY_LIBRARY = """#!lua name=busy
redis.register_function('spin', function() while true do end end)
"""


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def server(redis_kind: ServerKind, stack: AsyncExitStack) -> RedisServer:
    return await stack.enter_async_context(own_server(redis_kind))


def open_store(stack: AsyncExitStack, url: str, *, timeout_s: float = 5.0) -> RedisStore:
    store = RedisStore(open_client(url, timeout_s=timeout_s), own_keyspace())
    stack.push_async_callback(store.aclose)
    return store


async def command(store: RedisStore, *words: str | int) -> Any:
    return await cast("Any", store.client).execute_command(*words)


async def refusals(store: RedisStore, stream_id: str) -> set[type[StoreError]]:
    """How each kind of write is refused."""
    (beaten,) = await store.heartbeat([LeaseRenewal(stream_id, nonce(1), 1000)], RETENTION)
    found = {type(beaten)} if isinstance(beaten, StoreError) else set()
    for call in (
        lambda: append(store, stream_id, texts("x")),
        lambda: store.create(new_stream(), RETENTION),
        lambda: store.release(stream_id, nonce(1)),
    ):
        with pytest.raises(StoreError) as raised:
            await cast("Any", call())
        found.add(raised.type)
    return found


async def test_connection_refused(stack: AsyncExitStack) -> None:
    store = open_store(stack, f"redis://127.0.0.1:{free_port()}/0")
    tailer, listener = store.tailer(), store.cancellations()
    stack.push_async_callback(tailer.aclose)
    stack.push_async_callback(listener.aclose)
    for call in (
        store.ping,
        lambda: store.create(new_stream(), RETENTION),
        lambda: store.append([Append(NOBODY, nonce(1), 0, texts("x"), 1)], RETENTION),
        lambda: store.read(NOBODY, START, limit=1),
        lambda: store.due(limit=1),
        lambda: tailer.read({NOBODY: START}, count=1, block_ms=None),
        listener.next,
    ):
        with pytest.raises(StoreUnavailable):
            await cast("Any", call)()


async def test_no_such_host(stack: AsyncExitStack) -> None:
    store = open_store(stack, "redis://no-such-host.invalid:6379/0")
    with pytest.raises(StoreUnavailable):
        await store.ping()


async def test_no_answer_in_time(stack: AsyncExitStack, server: RedisServer) -> None:
    store = open_store(stack, server.url, timeout_s=0.2)
    stream_id = await begin(store)
    await command(store, "CLIENT", "PAUSE", 600, "ALL")
    async with asyncio.timeout(0.5):
        with pytest.raises(StoreUnavailable):
            await store.append([Append(stream_id, nonce(1), 0, texts("late"), 4)], RETENTION)
    await eventually(lambda: is_there(store, stream_id))
    # Whether the first one was carried out after all is for the tail to say. Twice it is not.
    assert await append(store, stream_id, texts("late")) in (
        TailMismatch(4),
        Appended(4, cancelling=False, bytes=len(new_stream().request) + 2 + 16 + 4),
    )
    assert [entry.event.value for entry in await log(store, stream_id)][1:] == [b"late"]


async def is_there(store: RedisStore, stream_id: str) -> bool:
    try:
        return await store.meta(stream_id) is not None
    except StoreUnavailable:
        return False


async def test_a_tail_that_does_not_answer_in_time(stack: AsyncExitStack, server: RedisServer) -> None:
    """Beyond the wait that it asked for it has the deadline of every command."""
    store = open_store(stack, server.url, timeout_s=0.2)
    stream_id = await begin(store)
    tailer = store.tailer()
    stack.push_async_callback(tailer.aclose)
    assert await tailer.read({stream_id: START}, count=1, block_ms=None)
    await command(store, "CLIENT", "PAUSE", 600, "ALL")
    async with asyncio.timeout(0.5):
        with pytest.raises(StoreUnavailable):
            await tailer.read({stream_id: START}, count=1, block_ms=50)
    assert "closed" in repr(tailer)


async def test_a_line_that_does_not_answer_in_time(stack: AsyncExitStack, server: RedisServer) -> None:
    """In a cluster a tail has lines to the nodes; the deadline is the same."""
    store = open_store(stack, server.url, timeout_s=0.2)
    line = NodeConnection(("127.0.0.1", server.port), store.client)
    stack.push_async_callback(line.aclose)
    await line.open()
    await command(store, "CLIENT", "PAUSE", 600, "ALL")
    line.ask({}, ("XREAD", "BLOCK", 50, "STREAMS", "nothing", "0"), wait_ms=50)
    async with asyncio.timeout(0.5):
        with pytest.raises(StoreUnavailable):
            await line.reply()


async def test_replies_lost_on_the_way(stack: AsyncExitStack, server: RedisServer) -> None:
    """What was written is learnt from the tail; nothing is written twice, by redis-py neither."""
    proxy = await stack.enter_async_context(lossy_proxy(server.port))
    store = open_store(stack, proxy.url)
    stream_id = await begin(store)
    await append(store, stream_id, [])
    calls = [Append(stream_id, nonce(1), tail, texts("x"), tail + 1) for tail in range(3)]
    proxy.lose_replies = True
    with pytest.raises(StoreUnavailable):
        await store.append(calls, RETENTION)
    proxy.lose_replies = False
    assert await store.append(calls, RETENTION) == [TailMismatch(3)] * 3
    assert [entry.event.value for entry in await log(store, stream_id)][1:] == [b"x"] * 3


@pytest.mark.parametrize("first", ["pool", "pipe", "tailer"])
async def test_connections_that_went_deaf_cost_one_deadline(
    stack: AsyncExitStack, server: RedisServer, first: str
) -> None:
    """As behind a firewall that has forgotten them all: what waits in the pool is not tried one after the other."""
    proxy = await stack.enter_async_context(lossy_proxy(server.port))
    store = open_store(stack, proxy.url, timeout_s=0.5)
    stream_id = await begin(store)
    await write(store, stream_id, "x")
    await asyncio.gather(*(store.meta(stream_id) for _ in range(5)))
    tailer = store.tailer()
    stack.push_async_callback(tailer.aclose)
    assert await tailer.read({stream_id: START}, count=10, block_ms=None)
    calls: dict[str, Any] = {
        "pool": lambda: store.meta(stream_id),
        "pipe": lambda: append(store, stream_id, texts("y"), tail=1),
        "tailer": lambda: tailer.read({stream_id: START}, count=10, block_ms=None),
    }
    proxy.deafen()
    with pytest.raises(StoreUnavailable):
        await calls[first]()
    async with asyncio.timeout(0.4):
        for _ in range(3):
            assert await store.meta(stream_id)
        meta = await store.meta(stream_id)
        assert meta is not None
        assert isinstance(await append(store, stream_id, texts("z"), tail=meta.tail), Appended)


@pytest.mark.parametrize("request_bytes", [0, 100, 900, 1500])
async def test_a_request_lost_on_the_way(stack: AsyncExitStack, server: RedisServer, request_bytes: int) -> None:
    """Cut in the middle of a pipeline: some of it was done, and the tail says how much."""
    proxy = await stack.enter_async_context(lossy_proxy(server.port))
    store = open_store(stack, proxy.url)
    stream_id = await begin(store)
    await append(store, stream_id, [])
    calls = [Append(stream_id, nonce(1), tail, texts("x"), tail + 1) for tail in range(3)]
    proxy.request_bytes = request_bytes
    with pytest.raises(StoreUnavailable):
        await store.append(calls, RETENTION)
    proxy.request_bytes = None
    done = len(await log(store, stream_id)) - 1
    replies = await store.append(calls[done:], RETENTION)
    assert all(isinstance(reply, Appended) for reply in replies)
    assert [entry.event.value for entry in await log(store, stream_id)][1:] == [b"x"] * 3


async def test_a_killed_connection(stack: AsyncExitStack, server: RedisServer) -> None:
    store = open_store(stack, server.url)
    stream_id = await begin(store)
    tailer = store.tailer()
    stack.push_async_callback(tailer.aclose)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(outcome(tailer.read({stream_id: Position(1, 0)}, count=1, block_ms=20_000)))
        await eventually(lambda: has_blocked_client(store))
        await command(store, "CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    assert isinstance(reading.result(), StoreUnavailable)
    await write(store, stream_id, "on")
    assert await tailer.read({stream_id: Position(1, 0)}, count=1, block_ms=20_000)


async def outcome(call: Any) -> object:
    try:
        return await call
    except StoreError as error:
        return error


async def has_blocked_client(store: RedisStore) -> bool:
    return bool((await cast("Any", store.client).info("clients"))["blocked_clients"])


async def test_out_of_memory(stack: AsyncExitStack, server: RedisServer) -> None:
    store = open_store(stack, server.url)
    await store.load()
    await command(store, "CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(StoreFull, match="maxmemory"):
        await create(store)


async def test_noreplicas(stack: AsyncExitStack, server: RedisServer) -> None:
    store = open_store(stack, server.url)
    stream_id = await begin(store)
    await command(store, "CONFIG", "SET", "min-replicas-to-write", 1)
    assert await refusals(store, stream_id) == {StoreFull}


async def test_misconf(redis_kind: ServerKind, stack: AsyncExitStack) -> None:
    server = await stack.enter_async_context(own_server(redis_kind, args=("--save", "3600 1")))
    store = open_store(stack, server.url)
    stream_id = await begin(store)
    shutil.rmtree(server.directory)
    await command(store, "BGSAVE")

    async def has_failed() -> bool:
        info = await cast("Any", store.client).info("persistence")
        return bool(info["rdb_last_bgsave_status"] == "err")

    await eventually(has_failed)
    assert await refusals(store, stream_id) == {StoreFull}
    server.kill()  # it would not go without saving


async def test_readonly(stack: AsyncExitStack, server: RedisServer) -> None:
    store = open_store(stack, server.url)
    stream_id = await begin(store)
    await command(store, "REPLICAOF", "127.0.0.1", free_port())
    assert await refusals(store, stream_id) == {StoreReadOnly}
    with pytest.raises(StoreReadOnly):
        await store.meta(stream_id)


async def test_unblocked_because_the_master_is_none_any_more(stack: AsyncExitStack, server: RedisServer) -> None:
    store = open_store(stack, server.url)
    stream_id = await begin(store)
    tailer = store.tailer()
    stack.push_async_callback(tailer.aclose)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(outcome(tailer.read({stream_id: Position(1, 0)}, count=1, block_ms=20_000)))
        await eventually(lambda: has_blocked_client(store))
        await command(store, "REPLICAOF", "127.0.0.1", free_port())
    assert isinstance(reading.result(), StoreReadOnly)
    assert "closed" in repr(tailer)


async def test_masterdown(stack: AsyncExitStack, server: RedisServer) -> None:
    """As it comes to a connection that has asked for the role just before; the next one asks, too."""
    store = open_store(stack, server.url)
    stream_id = await begin(store)
    await command(store, "CONFIG", "SET", "replica-serve-stale-data", "no")
    await store.client.connection_pool.disconnect()
    await store.ping()
    await command(store, "REPLICAOF", "127.0.0.1", free_port())
    with pytest.raises(StoreBusy):
        await store.meta(stream_id)
    with pytest.raises(StoreReadOnly):
        await store.read(stream_id, START, limit=1)


async def test_busy(stack: AsyncExitStack, server: RedisServer) -> None:
    store, other = open_store(stack, server.url), open_store(stack, server.url)
    stream_id = await begin(store)
    await append(store, stream_id, [])
    await command(store, "CONFIG", "SET", "busy-reply-threshold", 20)
    await command(store, "FUNCTION", "LOAD", BUSY_LIBRARY)
    async with asyncio.TaskGroup() as group:
        spin = group.create_task(spun(other))
        await eventually(lambda: is_busy(store))
        with pytest.raises(StoreBusy):
            await store.read(stream_id, START, limit=1)
        (refused,) = await store.append([Append(stream_id, nonce(1), 0, texts("x"), 1)], RETENTION)
        assert isinstance(refused, StoreBusy)
        await command(store, "FUNCTION", "KILL")
    assert "killed" in spin.result()


async def spun(store: RedisStore) -> str:
    try:
        await command(store, "FCALL", "spin", 0)
    except Exception as error:  # noqa: BLE001
        return str(error)
    return ""


async def is_busy(store: RedisStore) -> bool:
    try:
        await store.ping()
    except StoreBusy:
        return True
    return False


async def test_loading(stack: AsyncExitStack, server: RedisServer) -> None:
    store, other = open_store(stack, server.url), open_store(stack, server.url)
    stream_id = await begin(store)
    for number in range(100):
        await command(store, "SET", f"filling:{number}", "x" * 2000)
    await command(store, "CONFIG", "SET", "key-load-delay", 10_000)
    await command(store, "CONFIG", "SET", "loading-process-events-interval-bytes", 1024)
    async with asyncio.TaskGroup() as group:
        reloading = group.create_task(command(other, "DEBUG", "RELOAD"))
        await eventually(lambda: is_busy(store))
        with pytest.raises(StoreBusy):
            await store.meta(stream_id)
        await command(store, "CONFIG", "SET", "key-load-delay", 0)
    assert reloading.result()
    assert await store.meta(stream_id) is not None


async def test_noauth_and_wrongpass(redis_kind: ServerKind, stack: AsyncExitStack) -> None:
    server = await stack.enter_async_context(own_server(redis_kind, args=("--requirepass", "s3cret")))
    for credentials in ("", ":wrong@", "nobody:wrong@"):
        store = open_store(stack, f"redis://{credentials}127.0.0.1:{server.port}/0")
        tailer = store.tailer()
        stack.push_async_callback(tailer.aclose)
        for call in (
            store.ping,
            partial(store.create, new_stream(), RETENTION),
            partial(tailer.read, {NOBODY: START}, count=1, block_ms=1),
        ):
            with pytest.raises(StoreDenied) as raised:
                await cast("Any", call)()
            assert "s3cret" not in str(raised.value)
    await create(open_store(stack, f"redis://:s3cret@127.0.0.1:{server.port}/0"))


async def test_noperm(stack: AsyncExitStack, server: RedisServer) -> None:
    admin = open_store(stack, server.url)
    await command(admin, "ACL", "SETUSER", "reader", "on", ">pass", "~*", "+@read", "+@connection")
    store = open_store(stack, f"redis://reader:pass@127.0.0.1:{server.port}/0")
    with pytest.raises(StoreDenied, match="permission"):
        await create(store)


async def test_wrongtype(stack: AsyncExitStack, server: RedisServer) -> None:
    store = open_store(stack, server.url)
    stream_id = await begin(store)
    for key in (store.keys.meta(stream_id), store.keys.stream(stream_id)):
        await store.client.delete(key)
        await store.client.set(key, "a string")
    for call in (
        lambda: store.meta(stream_id),
        lambda: store.read(stream_id, START, limit=1),
        lambda: claim(store, stream_id, 2),
    ):
        with pytest.raises(StoreMisused, match="WRONGTYPE"):
            await cast("Any", call())
    tailer = store.tailer()
    stack.push_async_callback(tailer.aclose)
    with pytest.raises(StoreMisused, match="WRONGTYPE"):
        await tailer.read({stream_id: START}, count=1, block_ms=None)


async def test_clusterdown(redis_kind: ServerKind, stack: AsyncExitStack) -> None:
    server = await stack.enter_async_context(
        own_server(redis_kind, args=("--cluster-enabled", "yes", "--cluster-port", str(free_port())))
    )
    store = open_store(stack, server.url)
    with pytest.raises(StoreBusy):
        await store.meta(NOBODY)
    with pytest.raises(StoreBusy):
        await store.present([NOBODY])
