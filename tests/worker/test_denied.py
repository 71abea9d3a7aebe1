"""Workers whose user of Redis loses its rights: they wait, and no stream pays for it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from shared.log.keys import Keyspace
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from tests.conftest import missing
from tests.support.pulling import FAST, Pulling, key, pulling
from tests.support.redis_server import RedisServer, ServerMissing, running_redis
from tests.support.rights import PREFIX, RestrictedUser
from tests.support.script import Script, expected
from tests.support.waiting import eventually
from tests.support.worker import running_worker

__all__ = ()

pytestmark = pytest.mark.timeout(90)


@pytest.fixture
def server() -> Iterator[RedisServer]:
    try:
        redis = running_redis("redis7")
    except ServerMissing as reason:
        missing(str(reason))
    with redis:
        yield redis


@pytest.fixture
async def user(server: RedisServer) -> RestrictedUser:
    user = RestrictedUser(server)
    await user.grant()
    return user


@asynccontextmanager
async def pulling_of(server: RedisServer, user: RestrictedUser, **settings: Any) -> AsyncIterator[Pulling]:
    """Two workers with restricted rights; the test itself may do everything."""
    keys = Keyspace(PREFIX)
    store = RedisStore(open_client(server.url), keys)
    async with pulling(store, user.url, keys, workers=2, max_attempts=2, store_stall_s=20, **settings) as pulls:
        yield pulls
    await store.aclose()


@pytest.fixture
async def pulls(server: RedisServer, user: RestrictedUser) -> AsyncIterator[Pulling]:
    async with pulling_of(server, user) as pulls:
        yield pulls


async def has_said(log: object, words: str) -> bool:
    return words in str(getattr(log, "log", ""))


@pytest.mark.parametrize("right", ["xtrim", "subscribe", "fcall"])
async def test_a_worker_that_lacks_a_right_takes_nothing_and_says_which(
    server: RedisServer, user: RestrictedUser, right: str
) -> None:
    store = RedisStore(open_client(server.url), Keyspace(PREFIX))
    await store.load()
    await store.aclose()
    await user.grant(without=(right,))
    worker = running_worker(redis_url=user.url, prefix=PREFIX, **FAST)
    try:
        worker.launch()
        await eventually(lambda: has_said(worker, "this worker takes no streams yet"), within_s=20)
        assert right in worker.log.lower()
        assert "worker ready" not in worker.log
        await user.grant()
        await eventually(lambda: has_said(worker, "worker ready"), within_s=5)
    finally:
        worker.close()


async def test_windows_without_rights_shorter_than_a_lease_cost_nothing(
    server: RedisServer, user: RestrictedUser
) -> None:
    async with pulling_of(server, user, lease_s=6, heartbeat_s=1) as pulls:
        script = Script(key(), chunks=500, rate=100)
        stream_id = await pulls.create(script)
        await pulls.until_tail(stream_id, 100)
        for _ in range(4):
            await user.grant(without=("fcall",))
            await asyncio.sleep(0.7)
            await user.grant()
            await asyncio.sleep(0.4)
        meta = await pulls.until_over(stream_id)
        assert (meta.status, len(meta.fences)) == ("done", 1)
        assert await pulls.parts(stream_id) == expected(script)


@pytest.mark.parametrize("how", ["rights", "password"])
async def test_windows_longer_than_a_lease_cost_no_attempt(pulls: Pulling, user: RestrictedUser, how: str) -> None:
    """With `max_attempts` 2, and three windows that each end the lease."""
    script = Script(key(), chunks=1500, rate=100)
    stream_id = await pulls.create(script)
    await pulls.until_tail(stream_id, 100)
    for _ in range(3):
        if how == "rights":
            await user.grant(without=("fcall", "hgetall"))
        else:
            await user.grant(password="another")
            await user.hang_up()
        await asyncio.sleep(3 * FAST["lease_s"] / 2)
        await user.grant()
        tail = (await pulls.meta(stream_id)).tail
        await pulls.until_tail(stream_id, tail + 20, within_s=10)
    meta = await pulls.until_over(stream_id, within_s=40)
    assert meta.status == "done", meta.error
    assert len(meta.fences) > 2
    assert await pulls.parts(stream_id) == expected(script)
