"""One scenario a row of the fault table: the fault in the middle of live streams, and the bound it has to keep.

The leases of these clusters are 3 s instead of 10, so that every row fits; `test_row_01_with_the_default_lease`
shows the default. Where the other rows are is in README.md.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from math import inf

import pytest
import pytest_asyncio

from shared.log.keys import Keyspace
from shared.settings.settings import Settings
from tests.chaos.checker import NO_LIMITS, Limits
from tests.chaos.cluster import Cluster
from tests.chaos.faults.edges import DrainEdge, KillEdge
from tests.chaos.faults.fault import Fault
from tests.chaos.faults.folding import FoldUnderReaders
from tests.chaos.faults.network import DelayNetwork, LoseReplies, PartitionMember, ResetInPipeline
from tests.chaos.faults.providers import BreakProvider
from tests.chaos.faults.redis import (
    FailOver,
    KillMaster,
    LoseTail,
    LoseTailAndWorker,
    OutOfMemory,
    PauseRedis,
    RestartMaster,
    SplitClaim,
)
from tests.chaos.faults.streams import KEYS, CancelStream, DeleteKeys, DeleteStream, FlushAll
from tests.chaos.faults.workers import DrainWorker, FreezeWorker, KillWorker, SkewClock
from tests.chaos.run import Run, Verdict, scenario
from tests.support.history import Left, Received, Removed
from tests.support.script import Fault as ProviderFault
from tests.support.waiting import eventually

__all__ = ()

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(120), pytest.mark.chaos]

_S = 1_000_000_000
# What two cores shared with everything else may add to a bound that counts milliseconds.
_SLACK_S = 2.0


async def strike(
    cluster: Cluster,
    *faults: Fault,
    stall_s: float,
    seconds: float = 3.0,
    streams: int = 6,
    policies: Sequence[str | None] = ("continue", "restart"),
    rate: float = 25.0,
) -> tuple[Run, Verdict]:
    """The faults among some streams; fails if they met nobody, or if any promise broke."""
    run = Run(cluster, seed=streams)
    scripts = [run.workload.script(seconds=seconds, rate=rate) for _ in range(streams)]
    limits = Limits(stall_s=stall_s + _SLACK_S)
    verdict = await scenario(run, *faults, scripts=scripts, limits=limits, policies=policies)
    assert verdict.problem is None, f"{verdict.problem}\n{verdict.report}"
    return run, verdict


async def test_row_01_worker_killed(healed: Cluster) -> None:
    _, verdict = await strike(healed, KillWorker(), stall_s=6)
    assert verdict.report.outcomes == {"done": verdict.report.readers}


async def test_row_02_worker_frozen(healed: Cluster) -> None:
    """The zombie wakes up when others have its streams, and nothing of what it still had to say is delivered."""
    _, verdict = await strike(healed, FreezeWorker(seconds=5), stall_s=6)
    assert verdict.report.outcomes == {"done": verdict.report.readers}


async def test_row_03_lost_reply(healed: Cluster) -> None:
    _, verdict = await strike(healed, LoseReplies(), stall_s=1)
    assert verdict.report.resets == 0


async def test_row_04_reset_in_pipeline(healed: Cluster) -> None:
    _, verdict = await strike(healed, ResetInPipeline(), stall_s=1)
    assert verdict.report.resets == 0


async def test_row_05_redis_master_killed_and_restarted(healed: Cluster) -> None:
    await strike(healed, RestartMaster(), stall_s=3)


async def test_row_06_redis_master_killed_sentinel_failover(healed: Cluster) -> None:
    await strike(healed, KillMaster(), stall_s=8)


async def test_row_06_sentinel_failover_by_hand(healed: Cluster) -> None:
    await strike(healed, FailOver(), stall_s=8)


async def test_row_07_failover_with_lost_tail(healed: Cluster) -> None:
    """Readers of the lost tail are repaired or reset, and the log has no hole."""
    await strike(healed, LoseTail(), stall_s=10)


async def test_row_08_failover_with_lost_tail_and_lost_worker(healed: Cluster) -> None:
    _, verdict = await strike(healed, LoseTailAndWorker(), stall_s=20)
    assert verdict.report.resets > 0


async def test_row_09_two_claimants_of_one_attempt(healed: Cluster) -> None:
    """Both write attempt 2; readers of the one that was lost are reset, and no id has two meanings."""
    _, verdict = await strike(healed, SplitClaim(), stall_s=20, seconds=6)
    assert verdict.report.resets > 0


async def test_row_10_redis_paused(healed: Cluster) -> None:
    """Shorter than a lease: nobody loses anything, not even a lease."""
    run, verdict = await strike(healed, PauseRedis(seconds=1.5), stall_s=1.5 + 1)
    logs = [await healed.logged(stream_id, run.history) for stream_id in run.workload.streams]
    assert verdict.report.resets == 0
    assert {len(log.fences) for log in logs} == {1}


async def test_row_12_out_of_memory(healed: Cluster) -> None:
    _, verdict = await strike(healed, OutOfMemory(seconds=2), stall_s=2 + 2)
    assert set(verdict.report.outcomes) <= {"done", "error"}


async def test_row_14_keys_deleted(healed: Cluster) -> None:
    """Of one stream the log, of another its meta, of a third all there is."""
    faults = {names: DeleteKeys(names) for names in KEYS}
    run, verdict = await strike(healed, *faults.values(), stall_s=3)
    assert verdict.took_effect == len(KEYS)
    await gone_in_time(run, healed, within_s=2)
    lifetimes = await log_lifetimes(run, healed)
    for names, fault in faults.items():
        assert fault.stream_id is not None
        left_s = lifetimes[fault.stream_id]
        if "log" in names:
            assert left_s is None, "the log was deleted, and somebody has brought it back"
        else:
            assert left_s is None or left_s < inf, "the log without its meta stays for ever"


async def test_row_14_stream_deleted(healed: Cluster) -> None:
    run, _ = await strike(healed, DeleteStream(), stall_s=3)
    await gone_in_time(run, healed, within_s=2)
    assert set((await log_lifetimes(run, healed)).values()) == {None}


async def test_row_14_flushall(healed: Cluster) -> None:
    run, verdict = await strike(healed, FlushAll(), stall_s=3)
    assert verdict.report.outcomes == {"gone": verdict.report.readers}
    await gone_in_time(run, healed, within_s=2)
    assert set((await log_lifetimes(run, healed)).values()) == {None}


async def test_row_15_folding_under_slow_readers(healed: Cluster) -> None:
    """Entries become blocks while readers are behind them: nobody is reset, and no gap is ever told."""
    run = Run(healed, seed=15)
    scripts = [run.workload.script(seconds=3, rate=120) for _ in range(3)]
    verdict = await scenario(
        run, FoldUnderReaders(), scripts=scripts, limits=NO_LIMITS, readers=2, pause_s=0.1, leaving=0.05
    )
    assert verdict.problem is None, verdict.problem
    assert (verdict.report.resets, verdict.report.gaps) == (0, 0)


async def test_row_16_edge_killed(healed: Cluster) -> None:
    _, verdict = await strike(healed, KillEdge(), stall_s=1)
    assert verdict.report.resets == 0
    assert verdict.report.resume_p99_s < 1 + _SLACK_S


async def test_row_17_edge_drained(healed: Cluster) -> None:
    _, verdict = await strike(healed, DrainEdge(), stall_s=1)
    assert verdict.report.resets == 0
    assert verdict.report.resume_p99_s < 1 + _SLACK_S


async def test_row_17_worker_drained(healed: Cluster) -> None:
    """What it cannot finish is handed over at once: nobody waits for a lease to run out."""
    _, verdict = await strike(healed, DrainWorker(), stall_s=2, policies=("continue",))
    assert verdict.report.resets == 0


async def test_row_21_reconnect_storm(healed: Cluster) -> None:
    """An edge dies with its half of three hundred readers, and all of them come back at once."""
    run = Run(healed, seed=21)
    scripts = [run.workload.script(seconds=6, rate=3) for _ in range(2)]
    limits = Limits(resume_s=5 + _SLACK_S, stall_s=2 + _SLACK_S)
    verdict = await scenario(run, KillEdge(), scripts=scripts, limits=limits, readers=150)
    assert verdict.problem is None, verdict.problem
    assert verdict.report.resumes > 50
    assert verdict.report.outcomes == {"done": 300}


async def test_row_22_latency_and_loss(healed: Cluster) -> None:
    await strike(healed, DelayNetwork(seconds=3), stall_s=6)


async def test_row_22_partition(healed: Cluster) -> None:
    """Shorter than a lease, so that the worker finds its streams as it left them."""
    await strike(healed, PartitionMember(seconds=1.2), stall_s=6)


@pytest.mark.parametrize("ahead_s", [3600, -3600])
async def test_row_23_clock_jump(healed: Cluster, ahead_s: float) -> None:
    """Nobody but a worker whose clock is an hour wrong: it takes up streams at once, keeps its leases, ends them."""
    for worker in healed.workers:
        await worker.kill()
    skewed = await healed.add_worker(ahead_s=ahead_s)
    await skewed.until_ready()
    try:
        run, verdict = await strike(healed, SkewClock(skewed), stall_s=2, streams=3)
    finally:
        await healed.remove(skewed)
    logs = [await healed.logged(stream_id, run.history) for stream_id in run.workload.streams]
    assert verdict.report.resets == 0
    assert {len(log.fences) for log in logs} == {1}


async def test_row_25_provider_faults(healed: Cluster) -> None:
    """Half-way through, each in its own way; the other name of the provider takes over."""
    run = Run(healed, seed=25)
    kinds = ("cut", "reset", "eof", "error_frame", "malformed", "silence", "bad_chunking", "done_twice", "after_done")
    scripts = [
        run.workload.script(seconds=2, fault=ProviderFault(kind, after=20, times=1))
        for kind in (*kinds, "hangup", "status", "html", "no_done")
    ]
    verdict = await scenario(run, BreakProvider(), scripts=scripts, limits=Limits(stall_s=8 + _SLACK_S), readers=2)
    assert verdict.problem is None, verdict.problem
    assert verdict.report.outcomes == {"done": verdict.report.readers}


async def test_row_26_cancel(healed: Cluster) -> None:
    run, verdict = await strike(healed, CancelStream(), stall_s=2)
    assert verdict.report.outcomes["cancelled"] == 3
    struck = verdict.struck[0]
    ends = [r.at_ns for r in run.history.records if isinstance(r, Received) and r.data["type"] == "cancelled"]
    assert max(ends) < struck.at_ns + (1 + _SLACK_S) * _S


async def test_row_26_cancel_when_no_worker_lives(healed: Cluster) -> None:
    """Nobody is there to end the stream, so the stop itself does."""
    run = Run(healed, seed=26)
    stream_id = await run.workload.create(run.workload.script(seconds=60))
    (reader,) = run.workload.add_readers(stream_id, 1)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(reader.run())
        async with asyncio.timeout(20):
            await reader.begun.wait()
        for worker in healed.workers:
            await worker.kill()
        await lease_over(healed, stream_id)
        assert await CancelStream(stream_id).strike(run.scene)
        stopped = time.monotonic()
        await reading
    assert reader.outcome == "cancelled"
    assert time.monotonic() - stopped < 1 + _SLACK_S
    assert (await run.verdict()).report.violations == []


async def lease_over(cluster: Cluster, stream_id: str) -> None:
    """Wait until the lease of a stream has run out by Redis' clock."""

    async def is_due() -> bool:
        return stream_id in await cluster.store.due(limit=100)

    await eventually(is_due, within_s=15, every_s=0.1)


async def gone_in_time(run: Run, cluster: Cluster, *, within_s: float) -> None:
    """Readers of what was taken away are told in time."""
    removed = {record.stream: record for record in run.history.records if isinstance(record, Removed)}
    left = [r for r in run.history.records if isinstance(r, Left) and r.stream in removed]
    assert left
    for record in left:
        assert record.outcome == "gone"
        assert record.at_ns < removed[record.stream].at_ns + (within_s + _SLACK_S) * _S, record


async def log_lifetimes(run: Run, cluster: Cluster) -> dict[str, float | None]:
    """How long the logs of what was taken away still live: None if they are gone, infinity if they never expire."""
    keys = Keyspace(cluster.settings["prefix"])
    client = cluster.redis.client((await cluster.redis.master()).port)
    removed = {record.stream for record in run.history.records if isinstance(record, Removed)}
    left_ms = {stream_id: await client.pttl(keys.stream(stream_id)) for stream_id in removed}
    return {stream_id: {-2: None, -1: inf}.get(each, each / 1000) for stream_id, each in left_ms.items()}


@pytest_asyncio.fixture(loop_scope="package")
async def defaults(healed: Cluster) -> AsyncIterator[Cluster]:
    """The cluster with two workers whose leases are those of the default settings: 10 s, looked at every 2."""
    quick = list(healed.workers)
    for worker in quick:
        await worker.kill()
    lease = {name: Settings.model_fields[name].default for name in ("lease_s", "heartbeat_s", "sweep_s")}
    slow = [await healed.add_worker(**lease) for _ in quick]
    for worker in slow:
        await worker.until_ready()
    yield healed
    for worker in slow:
        await healed.remove(worker)


async def test_row_01_with_the_default_lease(defaults: Cluster) -> None:
    _, verdict = await strike(defaults, KillWorker(), stall_s=15 - _SLACK_S)
    assert verdict.report.longest_stall_s > 3
