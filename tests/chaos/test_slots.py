"""Rows on a Redis Cluster: a slot that is moved under live streams, and a master that is killed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.chaos.checker import Limits
from tests.chaos.cluster import QUICK
from tests.chaos.faults.fault import Fault
from tests.chaos.run import Run, Verdict, scenario
from tests.chaos.slots import KillSlotMaster, MoveSlot, SlotCluster
from tests.conftest import missing
from tests.support.redis_server import ServerMissing

__all__ = ()

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.chaos]

# What two cores shared with everything else may add to a bound that counts milliseconds.
_SLACK_S = 2.0


async def test_row_24_slot_of_a_live_bucket_moved() -> None:
    """Nothing is lost, nobody is reset, and it goes on within 3 s, though a slot on its way takes no appends.

    Nor does it take heartbeats, so leases have their default length here.
    """
    async with started(buckets=3, lease_s=10, heartbeat_s=3) as cluster:
        verdict = await strike(cluster, MoveSlot(times=6, per_key_s=0.01), seconds=8, stall_s=3)
    assert verdict.report.outcomes == {"done": verdict.report.readers}
    assert verdict.report.resets == verdict.report.gaps == 0


async def test_row_06_cluster_master_killed() -> None:
    """The replica is promoted; who has read what it had not heard of is reset, and the other masters go on."""
    async with started(has_replica=True, buckets=4) as cluster:
        verdict = await strike(cluster, KillSlotMaster(), seconds=6, stall_s=8)
    assert verdict.report.outcomes.keys() <= {"done", "gone"}


@asynccontextmanager
async def started(*, has_replica: bool = False, **settings: str | float) -> AsyncIterator[SlotCluster]:
    try:
        cluster = SlotCluster(has_replica=has_replica, settings=QUICK | settings)
    except ServerMissing as reason:
        missing(str(reason))
    async with cluster:
        yield cluster


async def strike(cluster: SlotCluster, fault: Fault, *, seconds: float, stall_s: float) -> Verdict:
    """The fault among nine streams; fails if it met nobody, or if any promise broke."""
    run = Run(cluster, seed=24)
    scripts = [run.workload.script(seconds=seconds) for _ in range(9)]
    limits = Limits(stall_s=stall_s + _SLACK_S)
    verdict = await scenario(run, fault, scripts=scripts, limits=limits, leaving=0.01)
    assert verdict.problem is None, f"{verdict.problem}\n{verdict.report}"
    return verdict
