"""Who gets a job and how soon: workers that are full, killed, cut off or wrong about the time, tenants of all sizes.

`dispatch_ms` is a minute here: what depends on the sweeper finding an undispatched stream fails.
"""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import orjson
import pytest

from shared.log.keys import Keyspace, new_id
from shared.queue.jobs import HOLD_MS, JobQueue, QueueState
from shared.store.calls import NewStream
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from shared.store.replies import Created
from tests.chaos.skewed import SkewedEdge, SkewedWorker
from tests.conftest import missing
from tests.support.calls import ask, call
from tests.support.edge import running_edge
from tests.support.pulling import Pulling, key, pulling
from tests.support.redis_server import RedisServer, ServerMissing, running_redis
from tests.support.script import Script
from tests.support.streams import RETENTION
from tests.support.waiting import eventually
from tests.support.worker import WorkerProcess, running_worker

__all__ = ()

MINUTE_MS = 60_000
# What a stream may wait once nothing is in its way any more.
SOON_S = 2.0


def long() -> Script:
    """An answer that outlasts the test."""
    return Script(key(), chunks=5000, rate=20)


def short() -> Script:
    return Script(key(), chunks=2)


def slow() -> Script:
    """One that costs little and lasts."""
    return Script(key(), chunks=5000, rate=2)


async def create(pulls: Pulling, script: Script, *, tenant: str = "public") -> str:
    return await pulls.create(script, tenant=tenant, dispatch_ms=MINUTE_MS)


@pytest.fixture
async def alone(store: RedisStore, redis_url: str, keys: Keyspace) -> AsyncIterator[Pulling]:
    """No worker yet."""
    async with pulling(store, redis_url, keys, workers=0) as pulls:
        yield pulls


@contextmanager
def workers(pulls: Pulling, *, ahead_s: float = 0) -> Iterator[Callable[..., WorkerProcess]]:
    """Starts workers, with `wait=False` without waiting for them; those that still run are killed in the end."""
    with ExitStack() as stack:

        def start(*, wait: bool = True, **settings: str | float) -> WorkerProcess:
            common = pulls.settings | settings
            worker = SkewedWorker(ahead_s=ahead_s, **common) if ahead_s else running_worker(**common)
            stack.callback(worker.close)
            worker.launch()
            if wait:
                worker.wait_until(worker.is_ready)
            return worker

        yield start


async def test_a_full_worker_leaves_jobs_to_an_idle_one(alone: Pulling) -> None:
    with workers(alone) as start:
        start(max_jobs=2)
        streams = [await create(alone, long()) for _ in range(8)]
        await alone.until_running(*streams[:2])
        start(max_jobs=10)
        await alone.until_running(*streams, within_s=SOON_S)


async def test_jobs_that_a_killed_worker_had_taken_are_taken_again(alone: Pulling) -> None:
    """As streams end, a worker takes what it has room for; when it dies nobody waits for what else it has seen."""
    brief = [await create(alone, short()) for _ in range(4)]
    streams = [await create(alone, long()) for _ in range(8)]
    with workers(alone) as start:
        first = start(max_jobs=2)
        await alone.until_running(*brief, *streams[:2])
        await asyncio.sleep(0.5)
        first.kill()
        start(max_jobs=20)
        await alone.until_running(*streams, within_s=HOLD_MS / 1000 + SOON_S)


@pytest.mark.timeout(240)
async def test_eleven_kills_leave_nothing_in_the_queue(alone: Pulling, keys: Keyspace) -> None:
    queue = JobQueue(alone.store.client, keys)
    with workers(alone) as start:

        async def is_first_ready() -> bool:
            return crowd[0].is_ready()

        common = {"max_jobs": 20, "max_attempts": 100, "lease_s": 4, "heartbeat_s": 1}
        crowd = [start(wait=False, **common) for _ in range(3)]
        streams = [await create(alone, slow()) for _ in range(60)]
        await alone.until_running(*streams, within_s=30.0)
        for _ in range(11):
            await eventually(is_first_ready, within_s=30.0)
            crowd.pop(0).kill()
            crowd.append(start(wait=False, **common))

        async def is_settled() -> bool:
            lost = await alone.store.due(limit=100)
            return not lost and await queue.look() == QueueState(jobs=0, held=0, stuck=0, wait_ms=0)

        await eventually(is_settled, within_s=60.0)
        # Now there is no room at all. Five that are cancelled make some.
        for stream_id in streams[:5]:
            await alone.store.cancel(stream_id, attempt=None, nonce="ab" * 4, retention=RETENTION)
        new = [await create(alone, short()) for _ in range(5)]
        await alone.until_running(*new, within_s=SOON_S)


async def test_a_caller_with_a_thousand_jobs_does_not_delay_another(alone: Pulling) -> None:
    with workers(alone) as start:
        start(max_jobs=20)
        many = [await create(alone, Script(key(), chunks=20, rate=50), tenant="many") for _ in range(1000)]
        await alone.until_running(*many[:20])
        one = await create(alone, short(), tenant="one")
        meta = await alone.until_over(one, within_s=10.0)
        last = await alone.meta(many[-1])

    assert last.attempt == 0, "they were all done before it came"
    assert meta.first_ms - meta.created_ms < SOON_S * 1000


@pytest.mark.parametrize("ahead_s", [120, -120])
async def test_no_clock_but_that_of_redis_counts(alone: Pulling, ahead_s: float) -> None:
    """Neither an edge that is early or late, nor such a worker."""
    with workers(alone) as start, SkewedEdge(ahead_s=ahead_s, **alone.settings | {"dispatch_s": 60.0}) as edge:
        start()
        await alone.until_running(await ask(edge.port, short(), model="scripted"), within_s=SOON_S)
    with workers(alone, ahead_s=ahead_s) as start:
        start()
        await alone.until_running(await create(alone, short()), within_s=SOON_S)


@pytest.fixture
def apart() -> Iterator[RedisServer]:
    """A Redis for the queue alone, with its append-only file."""
    try:
        server = running_redis("redis7", appendonly=True)
    except ServerMissing as reason:
        missing(str(reason))
    with server:
        yield server


async def test_a_stream_that_could_not_be_queued_is_queued_as_soon_as_it_can(
    store: RedisStore, redis_url: str, keys: Keyspace, apart: RedisServer
) -> None:
    async with pulling(store, redis_url, keys, queue_url=apart.url, dispatch_s=60.0) as pulls:
        with running_edge(**pulls.settings) as edge:
            apart.stop()
            before = time.monotonic()
            streams = [await ask(edge.port, short(), model="scripted") for _ in range(5)]
            assert time.monotonic() - before < 5
            await asyncio.sleep(3)
            apart.start()
            await pulls.until_running(*streams, within_s=SOON_S)

            async def are_seen() -> bool:
                _, said = await call(edge.port, "GET", "/v1/stats")
                return bool(said["workers"] and said["workers"]["count"] == 2)

            await eventually(are_seen, within_s=5.0)


async def test_a_queue_that_hung_for_a_while_is_used_at_once(
    store: RedisStore, redis_url: str, keys: Keyspace, apart: RedisServer
) -> None:
    """What was asked of it meanwhile is done as it wakes, for nobody: those jobs are not lost either."""
    async with pulling(store, redis_url, keys, queue_url=apart.url, dispatch_s=60.0) as pulls:
        with running_edge(**pulls.settings) as edge:
            apart.process.send_signal(signal.SIGSTOP)
            streams = [await ask(edge.port, short(), model="scripted") for _ in range(3)]
            await asyncio.sleep(4)
            apart.process.send_signal(signal.SIGCONT)
            await pulls.until_running(*streams, within_s=SOON_S)


async def test_a_claim_that_was_refused_for_now_is_tried_again(apart: RedisServer) -> None:
    keys = Keyspace("claims")
    with running_redis("redis7") as streams_redis:
        store = RedisStore(open_client(streams_redis.url), keys)
        async with pulling(store, streams_redis.url, keys, queue_url=apart.url) as pulls:
            await store.client.config_set("min-replicas-to-write", 0)
            new = [await create_undispatched(pulls) for _ in range(3)]
            await store.client.config_set("min-replicas-to-write", 1)
            for stream_id in new:
                await pulls.dispatcher.dispatch(stream_id, tenant="public")
            await asyncio.sleep(3)
            await store.client.config_set("min-replicas-to-write", 0)
            await pulls.until_running(*new, within_s=SOON_S)
        await store.aclose()


async def test_a_repeated_create_dispatches_what_is_still_queued(alone: Pulling) -> None:
    """The edge that created it died before it could."""
    with running_edge(**alone.settings | {"dispatch_s": 60.0}) as edge, workers(alone) as start:
        body = {"model": "scripted", "messages": short().messages()}
        first = await call(edge.port, "POST", "/v1/streams", body=body, idempotency_key="k")
        await alone.store.client.delete(Keyspace(str(alone.settings["prefix"])).queue)
        again = await call(edge.port, "POST", "/v1/streams", body=body, idempotency_key="k")
        assert first[1]["id"] == again[1]["id"]
        start()
        await alone.until_running(first[1]["id"], within_s=SOON_S)


async def test_the_edge_says_which_workers_there_are(alone: Pulling) -> None:
    with running_edge(**alone.settings) as edge, workers(alone) as start:

        async def count() -> int:
            _, said = await call(edge.port, "GET", "/v1/stats")
            found: int = said["workers"]["count"]
            return found

        assert await count() == 0
        status, refused = await call(edge.port, "GET", "/readyz?workers=1")
        assert (status, refused["error"]["code"]) == (503, "no_worker")
        first, second = start(max_jobs=7), start(max_jobs=7)
        await alone.until_running(await create(alone, long()))

        async def is_told() -> bool:
            _, said = await call(edge.port, "GET", "/readyz?verbose")
            told = said["workers"]
            assert all("id" not in each and each["version"] for each in told["seen"])
            return bool((told["count"], told["jobs"], told["max_jobs"]) == (2, 1, 14))

        await eventually(is_told, within_s=10.0)
        assert edge.metric("tailrace_workers") == 2
        _, said = await call(edge.port, "GET", "/v1/stats")
        assert {int(each["id"].split(":")[-2]) for each in said["workers"]["seen"]} == {
            first.process.pid,
            second.process.pid,
        }
        for path in ("/readyz", "/readyz?workers=2"):
            assert (await call(edge.port, "GET", path))[1] == {"ready": True}
        assert (await call(edge.port, "GET", "/readyz?workers=3"))[0] == 503

        second.terminate()
        assert await one_within(count, 1, SOON_S)
        first.kill()
        assert await one_within(count, 0, 6.0)


async def test_an_idle_worker_costs_next_to_nothing_beside_a_thousand_held_jobs(alone: Pulling, keys: Keyspace) -> None:
    client = alone.store.client
    async with client.pipeline(transaction=False) as pipe:
        for number in range(1000):
            name = f"{number:032x}.0"
            pipe.zadd(keys.queue, {name: number + 1})
            pipe.set(f"arq:job:{name}", b'{"t":null,"f":"pull","a":["x"],"k":{},"et":1}', px=MINUTE_MS)
            pipe.set(f"arq:in-progress:{name}", 1, px=MINUTE_MS)
        await pipe.execute()
    with workers(alone) as start:
        worker = start()
        before_s = cpu_s(worker)
        for _ in range(3):
            async with client.pipeline(transaction=False) as pipe:
                for number in range(1000):
                    pipe.pexpire(f"arq:in-progress:{number:032x}.0", 4900)
                await pipe.execute()
            await asyncio.sleep(1)
        assert cpu_s(worker) - before_s < 0.15
    await client.delete(*(f"arq:{kind}:{number:032x}.0" for kind in ("job", "in-progress") for number in range(1000)))


async def create_undispatched(pulls: Pulling) -> str:
    body = orjson.dumps({"model": "scripted", "messages": short().messages()})
    new = NewStream(new_id(buckets=4), "public", "scripted", body, dispatch_ms=MINUTE_MS)
    assert isinstance(await pulls.store.create(new, RETENTION), Created)
    return new.id


async def one_within(ask_for: Callable[[], Awaitable[int]], wanted: int, within_s: float) -> bool:
    async def is_so() -> bool:
        return await ask_for() == wanted

    await eventually(is_so, within_s=within_s)
    return True


def cpu_s(worker: WorkerProcess) -> float:
    user, system = Path(f"/proc/{worker.process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
