"""A cluster of three masters for all tests here, and stores on it."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from shared.store.store import Store
from tests.conftest import missing, own_keyspace
from tests.support.redis_cluster import RedisCluster
from tests.support.redis_server import ServerMissing

__all__ = ()


@pytest.fixture(scope="session")
def session_cluster() -> Iterator[RedisCluster]:
    try:
        made = RedisCluster()
    except ServerMissing as reason:
        missing(str(reason))
    try:
        asyncio.run(started(made))
        yield made
    finally:
        made.close()


@pytest.fixture
async def cluster(session_cluster: RedisCluster) -> AsyncIterator[RedisCluster]:
    """The cluster, which every test leaves with the slots where it found them."""
    yield session_cluster
    await session_cluster.hang_up()


@pytest.fixture
async def cluster_store(cluster: RedisCluster) -> AsyncIterator[RedisStore]:
    """An empty store on the cluster."""
    store = RedisStore(open_client(cluster.url), own_keyspace())
    yield store
    for key in await cluster.keys(store.keys.prefix):
        await store.client.delete(key)
    await store.aclose()


@pytest.fixture
def any_store(cluster_store: RedisStore) -> Store:
    """For the tests of every store: here, the one on the cluster."""
    return cluster_store


async def started(made: RedisCluster) -> None:
    await made.start()
    await made.hang_up()
