"""Fixtures for tests of the edge: one broker of real processes for the session."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from shared.log.keys import Keyspace
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from tests.conftest import own_keyspace, remove_keys
from tests.support.stack import Stack, running_stack

__all__ = ()


@pytest.fixture(scope="session")
def broker(redis_url: str) -> Iterator[Stack]:
    """Three edges and one without transports, a worker, a scripted provider. Whoever kills a part starts an own one."""
    keyspace = own_keyspace()
    with running_stack(redis_url=redis_url, prefix=keyspace.prefix, edge_heartbeat_s=1, send_timeout_s=5) as stack:
        yield stack
    asyncio.run(remove_keys(redis_url, keyspace))


@pytest.fixture
async def log(broker: Stack, redis_url: str) -> AsyncIterator[RedisStore]:
    """The store that the broker's edges read: tests write streams into it as a worker would."""
    store = RedisStore(open_client(redis_url), Keyspace(broker.settings["prefix"]))
    yield store
    await store.aclose()
