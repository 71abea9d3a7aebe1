"""Fixtures for every test: servers by kind, one shared Redis, an own key prefix per test, stores on all of them."""

import os
import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from functools import cache
from typing import NoReturn, cast

import pytest
from hypothesis import settings

from shared.log.keys import Keyspace
from shared.store.memory.store import MemoryStore
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from shared.store.store import Store
from tests.support.redis_choice import shared_redis
from tests.support.redis_server import KINDS, RedisServer, ServerKind, ServerMissing, running_redis

__all__ = ()

REQUIRE_ALL = "TAILRACE_REQUIRE_ALL"

# An example that takes long on a busy machine is no defect; a test that hangs has its own timeout.
settings.register_profile("tailrace", deadline=None)
settings.load_profile("tailrace")


def missing(reason: str) -> NoReturn:
    """What a test needs is not here: skipped with its reason, or failed where nothing may be missing."""
    if os.environ.get(REQUIRE_ALL) == "1":
        pytest.fail(f"{REQUIRE_ALL}=1, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def server_url() -> Iterator[Callable[[ServerKind], str]]:
    """The address of a server of a kind; each starts when it is first asked for and lives as long as the session."""
    with ExitStack() as stack:

        @cache
        def start(kind: ServerKind) -> str:
            return stack.enter_context(running_redis(kind)).url

        def url(kind: ServerKind) -> str:
            try:
                return start(kind)
            except ServerMissing as reason:
                missing(str(reason))

        yield url


@asynccontextmanager
async def own_server(kind: ServerKind, *, args: Sequence[str] = ()) -> AsyncIterator[RedisServer]:
    """A server that a test may torment."""
    try:
        server = running_redis(kind, args=args)
    except ServerMissing as reason:
        missing(str(reason))
    async with server:
        yield server


@pytest.fixture(params=["memory", *KINDS])
def store_kind(request: pytest.FixtureRequest) -> str:
    """Every kind of store there is; a test that uses this runs once for each."""
    kind: str = request.param
    return kind


@pytest.fixture
async def any_store(store_kind: str, server_url: Callable[[ServerKind], str]) -> AsyncIterator[Store]:
    """An empty store of each kind in turn."""
    if store_kind == "memory":
        yield MemoryStore()
        return
    url, keyspace = server_url(cast("ServerKind", store_kind)), own_keyspace()
    store = RedisStore(open_client(url), keyspace)
    yield store
    await store.aclose()
    await remove_keys(url, keyspace)


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """One Redis for all tests. Never flush it: it may be somebody's own."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(shared_redis())
        except ServerMissing as reason:
            missing(str(reason))
        yield url


@pytest.fixture
async def keys(redis_url: str) -> AsyncIterator[Keyspace]:
    """A prefix that no other test uses, on the shared Redis; what was written under it is removed afterwards."""
    keyspace = own_keyspace()
    yield keyspace
    await remove_keys(redis_url, keyspace)


@pytest.fixture
async def store(redis_url: str, keys: Keyspace) -> AsyncIterator[RedisStore]:
    """A store on the shared Redis under `keys`."""
    store = RedisStore(open_client(redis_url), keys)
    yield store
    await store.aclose()


def own_keyspace() -> Keyspace:
    return Keyspace(f"test-{secrets.token_hex(6)}")


async def remove_keys(url: str, keyspace: Keyspace) -> None:
    client = open_client(url)
    try:
        async for key in client.scan_iter(match=f"{keyspace.prefix}:*", count=1000):
            await client.unlink(key)
    finally:
        await client.aclose()
