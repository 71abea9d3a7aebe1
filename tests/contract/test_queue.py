"""The queue on every Redis: whose turn it is, who holds what for how long, and that no clock but Redis' counts."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import cast

import pytest
from arq.constants import in_progress_key_prefix, job_key_prefix
from redis.asyncio import Redis

from shared.errors import StoreDenied, StoreError
from shared.log.keys import Keyspace, new_id
from shared.queue.arq import deserialize
from shared.queue.jobs import HOLD_MS, JobQueue, QueueState, job_name
from shared.queue.library import QUEUE_FUNCTIONS, queue_library
from shared.queue.workers import GONE_MS, Workers, WorkerSeen, described
from shared.store.redis.client import open_client
from tests.conftest import own_keyspace, remove_keys
from tests.support.redis_server import KINDS, ServerKind
from tests.support.waiting import eventually

__all__ = ()

DAY_MS = 86_400_000
# What the functions need.
RIGHTS = (
    *("del", "get", "hdel", "hget", "hgetall", "hset", "lpush", "ltrim", "pexpire"),
    *("set", "time", "zadd", "zrange", "zrem", "zscore"),
)


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of its own on one kind of server."""

    jobs: JobQueue
    workers: Workers
    client: "Redis"
    keys: Keyspace

    async def put(self, tenant: str, *, attempt: int = 0) -> str:
        """The name of a new job."""
        stream_id = new_id(buckets=4)
        assert await self.jobs.put(stream_id, attempt=attempt, tenant=tenant)
        return job_name(stream_id, attempt)

    async def take(self, most: int, *, worker: str = "w", again: bool = False) -> list[str]:
        return [job.name for job in await self.jobs.take(worker, most=most, again=again)]

    async def done(self, names: Sequence[str]) -> None:
        """What arq does when jobs are over."""
        await self.client.zrem(self.keys.queue, *names)
        await self.client.delete(
            *(prefix + name for prefix in (job_key_prefix, in_progress_key_prefix) for name in names)
        )

    async def rings(self) -> int:
        return await cast("Awaitable[int]", self.client.llen(self.keys.bell))

    async def held_for_ms(self, name: str) -> int:
        left_ms: int = await self.client.pttl(in_progress_key_prefix + name)
        return left_ms


@pytest.fixture(params=KINDS)
async def queue(request: pytest.FixtureRequest, server_url: Callable[[ServerKind], str]) -> AsyncIterator[Queue]:
    url, keys = server_url(request.param), own_keyspace()
    client = open_client(url)
    yield Queue(JobQueue(client, keys), Workers(client, keys), client, keys)
    await client.aclose()
    await remove_keys(url, keys)


async def test_a_tenant_with_a_thousand_jobs_is_one_of_two(queue: Queue) -> None:
    many = [await queue.put("many") for _ in range(1000)]
    await queue.done(await queue.take(10))
    few = [await queue.put("few") for _ in range(5)]

    taken = await queue.take(12)

    assert [name for name in taken if name in few] == few
    assert [name for name in taken if name in many] == many[10:17]


async def test_every_tenant_has_one_job_a_round(queue: Queue) -> None:
    jobs = {await queue.put(tenant): tenant for tenant in ("a",) * 50 + ("b",) * 20 + ("c",) * 30}
    order = [jobs[name] for name in await queue.take(100)]

    for length in range(1, 61):
        counts = [order[:length].count(tenant) for tenant in "abc"]
        assert max(counts) - min(counts) <= 2, order[:length]
    assert set(order[-18:]) == {"a"}


async def test_who_waited_without_jobs_has_saved_no_turns(queue: Queue) -> None:
    """A tenant that comes late gets its share from now on, not what it did not ask for before."""
    for _ in range(100):
        await queue.put("early")
    await queue.done(await queue.take(80))
    late = [await queue.put("late") for _ in range(20)]

    taken = await queue.take(20)

    assert len(set(taken) & set(late)) in (9, 10, 11)


async def test_what_was_done_without_waiting_is_held_against_nobody(queue: Queue) -> None:
    for _ in range(30):
        await queue.done([await queue.put("busy")])
    await queue.put("other")
    mine = await queue.put("busy")
    for _ in range(20):
        await queue.put("other")

    assert mine in await queue.take(3)


async def test_a_takeover_comes_before_all_that_is_new(queue: Queue) -> None:
    for _ in range(20):
        await queue.put("many")
    await queue.done(await queue.take(5))
    lost = await queue.put("many", attempt=1)

    assert lost in await queue.take(2)


async def test_asking_twice_leaves_one_job(queue: Queue) -> None:
    stream_id = new_id(buckets=4)
    assert await queue.jobs.put(stream_id, attempt=0, tenant="t")
    assert not await queue.jobs.put(stream_id, attempt=0, tenant="t")

    assert await queue.take(5) == [job_name(stream_id, 0)]


async def test_a_job_is_what_any_arq_worker_reads(queue: Queue) -> None:
    name = await queue.put("t", attempt=2)
    raw = await queue.client.get(job_key_prefix + name)
    seconds, _ = await queue.client.time()
    job = deserialize(raw)

    assert {key: job[key] for key in "tfak"} == {
        "t": None,
        "f": "pull",
        "a": [name.partition(".")[0]],
        "k": {"takeover": True},
    }
    assert abs(job["et"] / 1000 - seconds) < 2
    (_, turn), *_ = await queue.client.zrange(queue.keys.queue, 0, 0, withscores=True)
    assert 0 < turn < 1e12  # arq takes a score for a time in ms: this one has passed by any clock


async def test_a_job_is_held_by_one_and_not_for_long(queue: Queue) -> None:
    name = await queue.put("t")
    assert await queue.take(5, worker="a") == [name]
    assert await queue.take(5, worker="b") == []
    assert 0 < await queue.held_for_ms(name) <= HOLD_MS

    async def is_free() -> bool:
        return await queue.take(5, worker="b") == [name]

    await eventually(is_free, within_s=HOLD_MS / 1000 + 1)


async def test_a_look_whose_answer_was_lost_is_taken_up_again(queue: Queue) -> None:
    name = await queue.put("t")
    assert await queue.take(5, worker="a") == [name]
    assert await queue.take(5, worker="a") == []
    assert await queue.take(5, worker="b", again=True) == []
    assert await queue.take(5, worker="a", again=True) == [name]


async def test_thousands_of_held_jobs_hide_none_behind_them(queue: Queue) -> None:
    held = [await queue.put("gone") for _ in range(1500)]
    async with queue.client.pipeline(transaction=False) as pipe:
        for name in held:
            pipe.set(in_progress_key_prefix + name, 1, px=DAY_MS)
        await pipe.execute()
    name = await queue.put("gone")

    assert await queue.take(5) == [name]
    await queue.done(held)


async def test_what_a_worker_of_before_held_for_a_day_is_free_again(queue: Queue) -> None:
    stuck, forever, empty, waiting = [await queue.put("t") for _ in range(4)]
    await queue.client.set(in_progress_key_prefix + stuck, 1, px=DAY_MS)
    await queue.client.set(in_progress_key_prefix + forever, 1)
    await queue.client.delete(job_key_prefix + empty)

    seen, tended, after = await queue.jobs.look(), await queue.jobs.tend(), await queue.jobs.tend()

    assert replace(seen, wait_ms=0) == replace(tended, wait_ms=0) == QueueState(jobs=4, held=2, stuck=3, wait_ms=0)
    assert 0 <= seen.wait_ms <= tended.wait_ms < 10_000
    assert (after.jobs, after.stuck) == (3, 0)
    assert 0 < await queue.held_for_ms(stuck) <= HOLD_MS
    assert 0 < await queue.held_for_ms(forever) <= HOLD_MS
    assert await queue.take(5) == [waiting]


async def test_rings_for_jobs_that_are_gone_wake_nobody(queue: Queue) -> None:
    for _ in range(10):
        await queue.put("t")
    await queue.take(4)
    assert await queue.rings() == 10
    await queue.take(7)
    assert await queue.rings() == 0


async def test_no_key_of_the_queue_lives_for_ever(queue: Queue) -> None:
    name = await queue.put("t")
    await queue.put("u")
    await queue.take(1)
    await queue.workers.announce(WorkerSeen("a", "1", 0, 10))

    written = {key.decode() async for key in queue.client.scan_iter(match=f"{queue.keys.prefix}:*")}
    assert written == {queue.keys.queue, queue.keys.bell, queue.keys.turns, queue.keys.workers}
    for key in written | {job_key_prefix + name, in_progress_key_prefix + name}:
        assert 0 < await queue.client.pttl(key) <= 3_600_000


async def test_turns_are_forgotten_when_they_have_passed(queue: Queue) -> None:
    for number in range(50):
        await queue.put(f"tenant-{number}")
    for number in range(50, 100):
        await queue.done(await queue.take(1))
        await queue.put(f"tenant-{number}")
    assert await queue.client.zcard(queue.keys.turns) <= 60

    await queue.done(await queue.take(100))
    await queue.put("t")
    assert await queue.client.zrange(queue.keys.turns, 0, -1) == [b"t"]


async def test_workers_are_seen_until_they_go(queue: Queue) -> None:
    assert await queue.workers.announce(WorkerSeen("a", "1.0", 3, 10)) == 1
    assert await queue.workers.announce(WorkerSeen("b", "1.1", 1, 10, draining=True)) == 1
    first, second = await queue.workers.seen()
    said = described([first, second])

    assert (first.id, first.version, first.jobs, first.max_jobs, first.draining) == ("a", "1.0", 3, 10, False)
    assert 0 < first.started_ms <= first.seen_ms <= second.seen_ms
    assert (said["count"], said["jobs"], said["max_jobs"], len(said["seen"])) == (1, 3, 10, 2)

    await queue.workers.announce(WorkerSeen("a", "1.0", 4, 10))
    again, _ = await queue.workers.seen()
    assert (again.started_ms, again.jobs) == (first.started_ms, 4)

    await queue.workers.leave("a")
    assert [worker.id for worker in await queue.workers.seen()] == ["b"]


async def test_a_worker_that_says_nothing_is_struck_off(queue: Queue) -> None:
    await queue.workers.announce(WorkerSeen("silent", "1", 0, 10))

    async def is_alone() -> bool:
        return await queue.workers.announce(WorkerSeen("there", "1", 0, 10)) == 1

    await eventually(is_alone, within_s=GONE_MS / 1000 + 1)
    assert [worker.id for worker in await queue.workers.seen()] == ["there"]
    assert 0 < await queue.client.pttl(queue.keys.workers) <= GONE_MS


async def test_whoever_lacks_a_right_leaves_nothing_half_done(
    queue: Queue, server_url: Callable[[ServerKind], str]
) -> None:
    """Each right taken away in turn: a call does all that it has to do, or nothing."""
    name = queue.keys.prefix
    port = queue.client.connection_pool.connection_kwargs["port"]
    user = open_client(f"redis://{name}:pass@127.0.0.1:{port}/0")
    jobs, workers = JobQueue(user, queue.keys), Workers(user, queue.keys)
    stuck = await queue.put("t")
    await queue.client.delete(job_key_prefix + stuck)
    denials = 0
    for lacking in RIGHTS:
        granted = [f"+{right}" for right in (*RIGHTS, "fcall", "hello", "info", "client|setname") if right != lacking]
        setting = ("ACL", "SETUSER", name, "reset", "on", ">pass", "~*", "&*", *granted)
        await queue.client.execute_command(*setting)  # type: ignore[no-untyped-call]
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda: jobs.put(new_id(buckets=4), attempt=0, tenant="u"),
            lambda: jobs.take("w", most=3),
            lambda: workers.announce(WorkerSeen("a", "1", 0, 1)),
        ]
        for call in calls:
            before = await dumped(queue)
            refusal = await refused(call)
            if refusal is not None:
                denials += 1
                assert isinstance(refusal, StoreDenied), refusal
                assert await dumped(queue) == before, (lacking, refusal)
    assert denials >= len(RIGHTS)
    await user.aclose()
    await queue.client.execute_command("ACL", "DELUSER", name)  # type: ignore[no-untyped-call]


async def refused(call: Callable[[], Awaitable[object]]) -> StoreError | None:
    try:
        await call()
    except StoreError as refusal:
        return refusal
    return None


async def dumped(queue: Queue) -> dict[bytes, object]:
    """All that stands under the prefix, byte for byte, and whether it expires."""
    names = sorted([name async for name in queue.client.scan_iter(match=f"{queue.keys.prefix}:*")])
    return {name: (await queue.client.dump(name), await queue.client.pttl(name) >= 0) for name in names}


async def test_functions_that_are_gone_come_back(queue: Queue) -> None:
    await queue.put("t")
    await queue.client.execute_command("FUNCTION", "DELETE", queue_library().name)  # type: ignore[no-untyped-call]
    assert len(await queue.take(5)) == 1


@pytest.mark.parametrize("function", QUEUE_FUNCTIONS)
def test_every_function_says_what_it_is_given_and_keeps(function: str) -> None:
    source = queue_library().source.partition(f"-- {function}: ")[2].partition("\nlocal function ")[0]
    assert all(f"-- {word}" in source for word in ("KEYS", "ARGV", "Answers", "Keeps:"))
