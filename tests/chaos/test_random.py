"""Short random runs in every test run; longer ones with `make chaos SEED=… SECONDS=…`."""

import asyncio

import pytest

from tests.chaos.cluster import Cluster
from tests.chaos.faults.edges import DrainEdge, KillEdge
from tests.chaos.nemesis import FAULTS
from tests.chaos.run import Run
from tests.support.history import Failed

__all__ = ()

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="package"), pytest.mark.timeout(180), pytest.mark.chaos]


@pytest.mark.parametrize("seed", [1, 2])
async def test_random_faults_break_no_promise(healed: Cluster, seed: int) -> None:
    run = Run(healed, seed)
    await run.rage(seconds=8, faults=list(FAULTS), streams=6)
    verdict = await run.verdict()
    assert verdict.problem is None, f"{verdict.problem}\n{verdict.report}"


async def test_two_faults_that_meet_at_one_process(healed: Cluster) -> None:
    """An edge is killed while it drains: it is started once, and its end is not held against it."""
    run, edge = Run(healed, seed=4), healed.edges[0]
    await asyncio.gather(*(fault.strike(run.scene) for fault in (DrainEdge(edge), KillEdge(edge))))
    assert [record for record in run.history.records if isinstance(record, Failed)] == []
    assert edge.is_running


async def test_a_run_without_a_fault_is_no_success(healed: Cluster) -> None:
    run = Run(healed, seed=3)
    await run.workload.follow(run.workload.script(seconds=0.5), readers=1)
    verdict = await run.verdict()
    assert verdict.report.first is None
    assert verdict.problem is not None
    assert "0 faults applied" in verdict.problem
