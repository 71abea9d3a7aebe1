"""Stores for what only a real Redis can show."""

from collections.abc import AsyncIterator, Callable

import pytest

from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from tests.conftest import own_keyspace, own_server, remove_keys
from tests.support.redis_server import KINDS, ServerKind

__all__ = ()


@pytest.fixture(params=KINDS)
def redis_kind(request: pytest.FixtureRequest) -> ServerKind:
    kind: ServerKind = request.param
    return kind


@pytest.fixture
async def real_store(redis_kind: ServerKind, server_url: Callable[[ServerKind], str]) -> AsyncIterator[RedisStore]:
    """An empty store on Redis 7 and on Valkey 9 in turn."""
    url, keyspace = server_url(redis_kind), own_keyspace()
    store = RedisStore(open_client(url), keyspace)
    yield store
    await store.aclose()
    await remove_keys(url, keyspace)


@pytest.fixture
async def own_store(redis_kind: ServerKind) -> AsyncIterator[RedisStore]:
    """A store on a server of its own, that a test may torment."""
    async with own_server(redis_kind) as server:
        store = RedisStore(open_client(server.url), own_keyspace())
        yield store
        await store.aclose()
