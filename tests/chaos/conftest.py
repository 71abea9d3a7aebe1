"""One cluster for all scenarios: it takes longer to start than most of them to run."""

from collections.abc import AsyncIterator

import pytest_asyncio

from tests.chaos.cluster import QUICK, Cluster
from tests.conftest import missing
from tests.support.redis_server import ServerMissing

__all__ = ()


@pytest_asyncio.fixture(loop_scope="package", scope="package")
async def cluster() -> AsyncIterator[Cluster]:
    """Two workers, two edges, a Redis with replica and Sentinels; whole again before each test (`healed`)."""
    try:
        made = Cluster(settings=QUICK)
    except ServerMissing as reason:
        missing(str(reason))
    async with made:
        yield made


@pytest_asyncio.fixture(loop_scope="package")
async def healed(cluster: Cluster) -> AsyncIterator[Cluster]:
    """The cluster with everybody alive and every fault lifted."""
    await cluster.heal()
    yield cluster
    await cluster.heal()
