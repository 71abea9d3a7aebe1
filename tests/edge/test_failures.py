"""What readers see when parts of the broker die, stop, vanish or come back: the rest, from somewhere, exactly."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from redis.asyncio import Redis

from shared.errors import StoreError
from shared.log import events
from shared.log.keys import Keyspace
from shared.store.calls import Compact
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from shared.store.replies import Compacted
from tests.conftest import missing
from tests.support.calls import call, edge_readers
from tests.support.edge import EdgeProcess, running_edge
from tests.support.redis_server import RedisServer, ServerMissing, running_redis
from tests.support.sse_client import NDJSON, SSE, History, Item, follow, opened
from tests.support.stack import Stack, configuration
from tests.support.streams import append, begin, nonce, write
from tests.support.waiting import eventually

__all__ = ()

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

WORDS = [f" wörd-{number}" for number in range(3_000)]


class Author:
    """Writes a stream into the log, as a worker would."""

    def __init__(self, store: RedisStore, stream_id: str) -> None:
        self.store = store
        self.id = stream_id
        self.tail = 0
        self.said = ""

    @classmethod
    async def begin(cls, store: RedisStore) -> "Author":
        return cls(store, await begin(store, tenant="public"))

    async def say(self, *words: str) -> None:
        self.tail = await write(self.store, self.id, *words, tail=self.tail)
        self.said += "".join(words)

    async def end(self) -> None:
        await append(self.store, self.id, [events.done("stop")], tail=self.tail)


def assert_heard(history: History, author: Author) -> None:
    assert history.text() == author.said
    assert (history.ending or {})["type"] == "done"
    assert not history.resets


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis that a test may harm, and that keeps what it acknowledged."""
    try:
        redis = running_redis("redis7", appendonly=True, args=("--appendfsync", "always"))
    except ServerMissing as reason:
        missing(str(reason))
    with redis:
        yield redis


@pytest.fixture
async def own_log(server: RedisServer) -> AsyncIterator[RedisStore]:
    store = RedisStore(open_client(server.url), Keyspace("tailrace"))
    yield store
    await store.aclose()


@contextmanager
def edges_of(tmp_path: Path, number: int, **settings: Any) -> Iterator[list[EdgeProcess]]:
    """Edges that a test may harm, started at once."""
    config = tmp_path / "tailrace.toml"
    config.write_text(configuration("http://127.0.0.1:9/v1"))
    with ExitStack() as stack:
        edges = [running_edge(config=str(config), retry_ms=50, **settings) for _ in range(number)]
        for edge in edges:
            stack.callback(edge.close)
            edge.launch()
        for edge in edges:
            edge.wait_until(edge.is_ready)
        yield edges


def assert_quiet(edge: EdgeProcess) -> None:
    """That nothing surprised the edge or its server: what these tests do to it is ordinary life."""
    assert "Traceback" not in edge.log, edge.log
    assert "ASGI callable" not in edge.log, edge.log


def events_path(author: Author) -> str:
    return f"/v1/streams/{author.id}/events"


async def until_heard(items: AsyncIterator[Item], history: History, author: Author) -> None:
    async with asyncio.timeout(15):
        while history.text() != author.said:
            history.take(await anext(items))


async def answers(edge: EdgeProcess, path: str, status: int) -> bool:
    return await asyncio.to_thread(edge.status, path) == status


# Redis


async def test_an_edge_starts_without_redis_and_recovers_by_itself(server: RedisServer, tmp_path: Path) -> None:
    server.kill()
    with edges_of(tmp_path, 1, redis_url=server.url, waits_for_redis=False) as (edge,):
        assert await answers(edge, "/livez", 200)
        async with opened(edge.port, "GET", "/readyz") as answer:
            assert answer.status == 503
        for method, path in (("GET", f"/v1/streams/{'0' * 32}/events"), ("GET", "/v1/stats"), ("POST", "/v1/streams")):
            body = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]} if method == "POST" else None
            async with opened(edge.port, method, path, body=body) as answer:
                assert answer.status == 503, path
                assert int(answer.headers["retry-after"]) >= 1
                assert (await answer.json())["error"]["retryable"] is True
        await asyncio.to_thread(server.start)
        await eventually(lambda: answers(edge, "/readyz", 200), within_s=5)
        assert (await call(edge.port, "GET", "/v1/stats"))[0] == 200


async def test_readers_stay_connected_while_redis_restarts_and_get_the_rest(
    server: RedisServer, own_log: RedisStore, tmp_path: Path
) -> None:
    """Nobody is sent away, nothing is lost, and delivery goes on within five seconds."""
    author, quiet = await Author.begin(own_log), await Author.begin(own_log)
    with edges_of(tmp_path, 1, redis_url=server.url, edge_heartbeat_s=1, redis_timeout_s=2) as (edge,):
        async with (
            opened(edge.port, "GET", events_path(author)) as live,
            opened(edge.port, "GET", events_path(author), headers={"accept": NDJSON}, version="1.0") as plain,
            opened(edge.port, "GET", events_path(quiet)) as silent,
        ):
            readers = [(answer.items(), History()) for answer in (live, plain, silent)]
            await author.say(*WORDS[:50])
            for items, history in readers[:2]:
                await until_heard(items, history, author)
            await asyncio.to_thread(server.kill)
            await eventually(lambda: answers(edge, "/readyz", 503))
            # Heartbeats go on while there is nobody to ask.
            assert (await anext(readers[0][0])).data is None
            await asyncio.to_thread(server.start)
            await eventually(lambda: is_reached(own_log, author))
            async with asyncio.timeout(5):
                await author.say(*WORDS[50:80])
                await author.end()
                for items, history in readers[:2]:
                    async for item in items:
                        history.take(item)
                    assert_heard(history, author)
            await quiet.say("at last")
            await quiet.end()
            async with asyncio.timeout(5):
                async for item in readers[2][0]:
                    readers[2][1].take(item)
            assert_heard(readers[2][1], quiet)


async def is_reached(store: RedisStore, author: Author) -> bool:
    """Whether the author can write again; a worker would ask again as well."""
    try:
        await append(store, author.id, [], tail=author.tail)
    except StoreError:
        return False
    return True


async def test_an_edge_whose_readers_left_during_the_outage_is_ready_again(
    server: RedisServer, own_log: RedisStore, tmp_path: Path
) -> None:
    author = await Author.begin(own_log)
    with edges_of(tmp_path, 1, redis_url=server.url, redis_timeout_s=1) as (edge,):
        async with opened(edge.port, "GET", events_path(author)) as answer:
            await anext(answer.items())
            await asyncio.to_thread(server.kill)
            await eventually(lambda: answers(edge, "/readyz", 503))
        await asyncio.to_thread(server.start)
        await eventually(lambda: answers(edge, "/readyz", 200), within_s=5)


@pytest.mark.parametrize("which", ["stream", "meta", "all"])
async def test_readers_of_a_deleted_key_are_told_within_two_seconds(
    broker: Stack, log: RedisStore, redis_url: str, which: str
) -> None:
    """XREAD says nothing of a key that is gone; the edge does."""
    author = await Author.begin(log)
    keys = Keyspace(broker.settings["prefix"])
    named = {"stream": [keys.stream(author.id)], "meta": [keys.meta(author.id)]}
    readers = [asyncio.create_task(follow([port], author.id)) for port in (broker.ports[0], broker.plain.port)]
    await author.say("something")
    await eventually(lambda: are_attached(broker, author))
    async with raw_client(redis_url) as client:
        await client.delete(*named.get(which, named["stream"] + named["meta"]))
    async with asyncio.timeout(2.5):
        histories = await asyncio.gather(*readers)
    assert [(history.ending or {})["code"] for history in histories] == ["stream_gone"] * 2


async def are_attached(broker: Stack, author: Author) -> bool:
    figures = [await call(port, "GET", "/v1/stats") for port in (broker.ports[0], broker.plain.port)]
    return all(body["edge"]["readers"] >= 1 for _, body in figures)


@asynccontextmanager
async def raw_client(url: str) -> AsyncIterator[Redis]:
    client = open_client(url)
    try:
        yield client
    finally:
        await client.aclose()


async def entry_of_nobody(client: Redis, key: str) -> None:
    await client.xadd(key, {"surprise": "x"}, id="9-9")


async def key_of_another_type(client: Redis, key: str) -> None:
    await client.set(key, "x")


async def entry_beyond_the_tail(client: Redis, key: str) -> None:
    await client.xadd(key, {"text": "x"}, id="1-999")


async def entry_that_continues_the_log(client: Redis, key: str) -> None:
    """Of a writer that was not to write: its meta was never told."""
    await client.xadd(key, {"text": "x"}, id="2-7")


async def meta_of_another_type(client: Redis, key: str) -> None:
    await client.set(key.replace(":stream:", ":meta:"), "x", keepttl=True)


async def tail_below_nothing(client: Redis, key: str) -> None:
    await cast("Any", client).hset(key.replace(":stream:", ":meta:"), "tail", "-1")


HARMS = [
    entry_of_nobody,
    key_of_another_type,
    entry_beyond_the_tail,
    entry_that_continues_the_log,
    meta_of_another_type,
    tail_below_nothing,
]


@pytest.mark.parametrize("harm", HARMS)
async def test_a_broken_stream_is_an_error_of_its_own_and_keeps_no_edge_busy(
    broker: Stack, log: RedisStore, redis_url: str, harm: Callable[[Redis, str], Any]
) -> None:
    """Whoever asks for it is told so or waits; the tenant's list and everybody's readiness are as before."""
    good, bad = await Author.begin(log), await Author.begin(log)
    edge, path = broker.edges[1], events_path(bad)
    keys = Keyspace(broker.settings["prefix"])
    await bad.say("before")
    async with opened(edge.port, "GET", path) as follower:
        await anext(follower.items())
        async with raw_client(redis_url) as client:
            await harm(client, keys.stream(bad.id))
        before_s = cpu_seconds(edge)
        for _ in range(5):
            async with opened(edge.port, "GET", path) as answer:
                assert answer.status in {200, 500}, await answer.read()
                if answer.status == 500:
                    assert (await answer.json())["error"]["code"] == "store_misused"
            status, listed = await call(edge.port, "GET", "/v1/streams?limit=200")
            assert status == 200
            assert good.id in {stream["id"] for stream in listed["streams"]}
            await asyncio.sleep(0.3)
        assert cpu_seconds(edge) - before_s < 0.75, "an edge that spins takes all of 1.5 s"
    assert await answers(edge, "/readyz", 200)
    async with raw_client(redis_url) as client:
        await client.delete(keys.stream(bad.id), keys.meta(bad.id))


def cpu_seconds(edge: EdgeProcess) -> float:
    fields = Path(f"/proc/{edge.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("harm", HARMS)
async def test_a_broken_stream_harms_only_its_own_readers(
    broker: Stack, log: RedisStore, redis_url: str, harm: Callable[[Redis, str], Any]
) -> None:
    """One bad key must not end the shared tail."""
    good, bad = await Author.begin(log), await Author.begin(log)
    port = broker.ports[0]
    async with opened(port, "GET", events_path(good)) as one, opened(port, "GET", events_path(bad)) as other:
        readers = [(one.items(), History()), (other.items(), History())]
        for author, (items, history) in zip((good, bad), readers, strict=True):
            await author.say("before")
            await until_heard(items, history, author)
        async with raw_client(redis_url) as client:
            await harm(client, Keyspace(broker.settings["prefix"]).stream(bad.id))
        async with asyncio.timeout(10):  # what the tail does not meet is found when the silent are looked at
            async for item in readers[1][0]:
                assert item.data is None
        assert not other.is_complete
        await good.say(" and after")
        await good.end()
        async with asyncio.timeout(5):
            async for item in readers[0][0]:
                readers[0][1].take(item)
        assert_heard(readers[0][1], good)
    assert await answers(broker.edges[0], "/readyz", 200)
    assert_quiet(broker.edges[0])
    async with raw_client(redis_url) as client:
        keys = Keyspace(broker.settings["prefix"])
        await client.delete(keys.stream(bad.id), keys.meta(bad.id))


# Edges that sleep


@pytest.mark.parametrize("is_over", [False, True], ids=["live", "finished"])
async def test_an_edge_that_slept_while_the_log_was_folded_misses_nothing(
    broker: Stack, log: RedisStore, is_over: bool
) -> None:
    """What the tail could have read is in a block by now; readers are sent there."""
    author = await Author.begin(log)
    edge = broker.edges[2]
    async with opened(edge.port, "GET", events_path(author)) as answer:
        items, history = answer.items(), History()
        await author.say(*WORDS[:100])
        await until_heard(items, history, author)
        edge.process.send_signal(signal.SIGSTOP)
        try:
            await author.say(*WORDS[100:300])
            if is_over:
                await author.end()
            (folded,) = await log.compact([Compact(author.id, nonce="" if is_over else nonce(1))])
            assert isinstance(folded, Compacted)
            assert folded.folded > history.units
        finally:
            edge.process.send_signal(signal.SIGCONT)
        if not is_over:
            await author.say("and on")
            await author.end()
        async with asyncio.timeout(15):
            async for item in items:
                history.take(item)
        assert_heard(history, author)


# Edges that go


async def test_sigterm_moves_a_hundred_readers_and_ends_in_time(log: RedisStore, broker: Stack, tmp_path: Path) -> None:
    """Everybody is told to reconnect and finds the rest elsewhere; a reader that never reads delays nothing."""
    drain_s = 4.0
    author = await Author.begin(log)
    settings = {name: broker.settings[name] for name in ("redis_url", "prefix")}
    with edges_of(tmp_path, 1, edge_drain_s=drain_s, **settings) as (edge,):
        seen: list[History] = []
        async with asyncio.TaskGroup() as group:
            for number in range(100):
                group.create_task(stay(edge, author, seen, NDJSON if number % 2 else SSE))
            deaf = await asyncio.open_connection("127.0.0.1", edge.port, limit=1)
            deaf[1].write(b"GET %b HTTP/1.1\r\nhost: localhost\r\n\r\n" % events_path(author).encode())
            await eventually(lambda: has_readers(edge, 101), within_s=20)
            await author.say(*WORDS[:200])
            began = asyncio.get_running_loop().time()
            edge.process.terminate()
            await eventually(lambda: refuses(edge))
            await author.say(*WORDS[200:300])
            code = await asyncio.to_thread(edge.process.wait, 30)
            took_s = asyncio.get_running_loop().time() - began
        deaf[1].transport.abort()
        assert code == 0, edge.log
        assert took_s < drain_s + 0.5
        assert len(seen) == 100
        assert_quiet(edge)
        await author.end()
        for history in await asyncio.gather(*(follow(broker.ports, author.id, history=each) for each in seen)):
            assert_heard(history, author)


async def stay(edge: EdgeProcess, author: Author, seen: list[History], wire: str) -> None:
    """Read until the edge goes; what it said before it went is checked here."""
    history = History(author.id)
    async with opened(edge.port, "GET", events_path(author), headers={"accept": wire}) as answer:
        retries: list[int] = []
        async for item in answer.items():
            retries += [item.retry_ms] if item.retry_ms is not None else []
            history.take(item)
        assert history.reconnect is not None, "cut without a word"
        assert not answer.is_complete, "a clean end looks like the end of the stream"
        assert 25 <= history.reconnect["retry_ms"] <= 75
        assert wire == NDJSON or retries[-1] == history.reconnect["retry_ms"]
    seen.append(history)


async def has_readers(edge: EdgeProcess, number: int) -> bool:
    return await edge_readers(edge.port) == number


async def refuses(edge: EdgeProcess) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    except ConnectionRefusedError:
        return True
    except ConnectionResetError:
        return False  # it still listened, and stopped before it had taken us in
    writer.transport.abort()
    return False


async def test_readers_of_a_killed_edge_go_on_elsewhere(log: RedisStore, broker: Stack, tmp_path: Path) -> None:
    author = await Author.begin(log)
    settings = {name: broker.settings[name] for name in ("redis_url", "prefix")}
    with edges_of(tmp_path, 1, **settings) as (edge,):
        ports = [edge.port, *broker.ports]
        readers = [
            asyncio.create_task(follow(ports, author.id, chance=random.Random(seed), wires=(SSE, NDJSON)))
            for seed in range(50)
        ]
        await eventually(lambda: has_some_readers(edge))
        for start in range(0, 1_000, 100):
            await author.say(*WORDS[start : start + 100])
            if start == 500:
                edge.kill()
        await author.end()
        for history in await asyncio.gather(*readers):
            assert_heard(history, author)
        assert sum(reader.result().connections for reader in readers) > 50


async def has_some_readers(edge: EdgeProcess) -> bool:
    return await edge_readers(edge.port) > 3


async def test_old_connections_are_renewed_without_a_loss(log: RedisStore, broker: Stack, tmp_path: Path) -> None:
    """A connection has a highest age; its reader is asked to come again."""
    author = await Author.begin(log)
    settings = {name: broker.settings[name] for name in ("redis_url", "prefix")}
    with edges_of(tmp_path, 1, max_connection_s=0.3, edge_heartbeat_s=0.5, **settings) as (edge,):
        reader = asyncio.create_task(follow([edge.port], author.id, wires=(SSE, NDJSON)))
        for word in WORDS[:60]:
            await author.say(word)
            await asyncio.sleep(0.03)  # the pace of a stream, not a wait
        await author.end()
        history = await reader
    assert_heard(history, author)
    assert history.connections > 1


# Readers that do not read


async def test_a_reader_that_never_reads_costs_little_and_is_cut(
    log: RedisStore, broker: Stack, tmp_path: Path
) -> None:
    """Bounded memory, no delay for others, and an end after the send timeout."""
    author = await Author.begin(log)
    settings = {name: broker.settings[name] for name in ("redis_url", "prefix")}
    with edges_of(tmp_path, 1, send_timeout_s=3, **settings) as (edge,):
        deaf = [await never_read(edge, author, wire) for wire in (SSE, NDJSON) * 10]
        other = asyncio.create_task(follow([edge.port], author.id))
        await eventually(lambda: has_readers(edge, 21))
        before = edge.rss_bytes
        for _ in range(80):
            await author.say("x" * 30_000, "y" * 30_000)
        await author.end()
        async with asyncio.timeout(15):
            assert_heard(await other, author)
        queued = max(send_queues(edge.port).values(), default=0)
        grown = edge.rss_bytes - before
        assert queued < 256 * 1024, queued
        assert grown / len(deaf) < 512 * 1024, grown
        await eventually(lambda: has_readers(edge, 0), within_s=3 + 5)
        assert edge.metric("tailrace_slow_readers_cut_total") == 20
        assert_quiet(edge)
        for _, writer in deaf:
            writer.transport.abort()


async def never_read(edge: EdgeProcess, author: Author, wire: str) -> tuple[asyncio.StreamReader, Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port, limit=1)
    writer.write(f"GET {events_path(author)} HTTP/1.1\r\nhost: localhost\r\naccept: {wire}\r\n\r\n".encode())
    return reader, writer


def send_queues(port: int) -> dict[str, int]:
    """Bytes in the kernel's send queue of each connection that this port serves."""
    local = f":{port:04X}"
    queues = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(local):
            queues[fields[2]] = int(fields[4].partition(":")[0], 16)
    return queues
