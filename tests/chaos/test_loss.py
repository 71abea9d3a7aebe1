"""Row 22 below TCP: packets that get lost between readers and edges, between everybody and Redis, or all of them."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.chaos.checker import Limits
from tests.chaos.cluster import QUICK
from tests.chaos.lossy import LosePackets, LossyCluster
from tests.chaos.run import Run, scenario
from tests.conftest import missing
from tests.support.namespace import Namespace, NamespaceMissing
from tests.support.redis_server import ServerMissing

__all__ = ()

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(120), pytest.mark.chaos]

# What two cores shared with everything else may add to a bound that counts milliseconds.
_SLACK_S = 2.0
# Longer than any loss here and what TCP and our deadlines need to get over it: nobody has a reason to lose one.
_LEASE_S = 10.0


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def lossy() -> AsyncIterator[LossyCluster]:
    try:
        with Namespace() as cable:
            async with LossyCluster(cable, settings=QUICK | {"lease_s": _LEASE_S}) as cluster:
                yield cluster
    except (NamespaceMissing, ServerMissing) as reason:
        missing(str(reason))


async def strike(cluster: LossyCluster, fault: LosePackets, *, seed: int, stall_s: float) -> None:
    """The fault among six streams with three readers each: nothing is lost, nobody is reset, no lease runs out."""
    run = Run(cluster, seed=seed)
    scripts = [run.workload.script(seconds=4) for _ in range(6)]
    limits = Limits(stall_s=stall_s + _SLACK_S)
    verdict = await scenario(run, fault, scripts=scripts, limits=limits, leaving=0.01)
    assert verdict.problem is None, f"{verdict.problem}\n{verdict.report}"
    assert verdict.report.outcomes == {"done": verdict.report.readers}
    assert verdict.report.resets == verdict.report.gaps == 0
    logs = [await cluster.logged(stream_id, run.history) for stream_id in run.workload.streams]
    assert {len(log.fences) for log in logs} == {1}


async def test_row_22_packets_lost_on_the_way_to_readers(lossy: LossyCluster) -> None:
    await strike(lossy, LosePackets(10, seconds=4, ports=lossy.edge_ports), seed=1, stall_s=3)


async def test_row_22_packets_lost_on_the_way_to_redis(lossy: LossyCluster) -> None:
    await strike(lossy, LosePackets(10, seconds=4, ports=lossy.redis_ports), seed=2, stall_s=3)


async def test_row_22_every_packet_lost_for_a_while(lossy: LossyCluster) -> None:
    """For longer than a tail waits for an answer, and than a command does: each has to find its own way back."""
    everything = [*lossy.edge_ports, *lossy.redis_ports]
    await strike(lossy, LosePackets(100, seconds=4, ports=everything), seed=3, stall_s=4 + 3)
