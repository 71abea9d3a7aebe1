"""Claims and endings that were not answered, or that a failover has lost, are made again: no stream has to wait."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from shared.log.keys import Keyspace, new_id
from shared.queue.arq import ArqDispatcher, open_queue
from shared.store.calls import NewStream
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from shared.store.replies import Created
from tests.conftest import missing
from tests.support.lossy_proxy import LossyProxy, lossy_proxy
from tests.support.pulling import Pulling, key, pulling
from tests.support.redis_server import ServerMissing, running_redis
from tests.support.script import Script, expected
from tests.support.streams import RETENTION

__all__ = ()

pytestmark = pytest.mark.timeout(60)
# Long enough that no sweeper comes to the rescue.
DISPATCH_MS = 60_000


@dataclass(frozen=True, slots=True)
class Own:
    """A worker behind a proxy; the test itself goes past it."""

    pulls: Pulling
    proxy: LossyProxy
    dispatcher: ArqDispatcher

    async def create(self, script: Script) -> str:
        body = orjson.dumps({"model": "scripted", "messages": script.messages()})
        new = NewStream(new_id(buckets=4), "public", "scripted", body, dispatch_ms=DISPATCH_MS)
        assert isinstance(await self.pulls.store.create(new, RETENTION), Created)
        await self.dispatcher.dispatch(new.id)
        return new.id


@pytest.fixture
async def own() -> AsyncIterator[Own]:
    try:
        server = running_redis("redis7")
    except ServerMissing as reason:
        missing(str(reason))
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(server)
        proxy = await stack.enter_async_context(lossy_proxy(server.port))
        keys = Keyspace("claims")
        store = RedisStore(open_client(server.url), keys)
        stack.push_async_callback(store.aclose)
        settings: dict[str, Any] = {"workers": 1, "redis_timeout_s": 1, "max_attempts": 1, "lease_s": 10, "sweep_s": 60}
        pulls = await stack.enter_async_context(pulling(store, proxy.url, keys, **settings))
        dispatcher = ArqDispatcher(open_queue(server.url, prefix=keys.prefix, timeout_s=5))
        stack.push_async_callback(dispatcher.aclose)
        yield Own(pulls, proxy, dispatcher)


async def test_a_claim_over_a_connection_that_went_deaf_is_tried_again_at_once(own: Own) -> None:
    """The claim itself was carried out, so it is taken over from ourselves, and costs none of its `max_attempts`."""
    await own.pulls.until_over(await own.create(Script(key(), chunks=1)))
    script = Script(key(), chunks=20)
    own.proxy.deafen()
    stream_id = await own.create(script)
    meta = await own.pulls.until_over(stream_id, within_s=8)
    assert meta.status == "done", meta.error
    assert await own.pulls.parts(stream_id) == expected(script)


async def test_a_claim_that_a_failover_has_lost_is_made_again(own: Own) -> None:
    """As on a replica that was promoted before it heard of the claim: the stream is queued, and nobody has it."""
    script = Script(key(), chunks=200, rate=50)
    stream_id = await own.create(script)
    await own.pulls.until_tail(stream_id, 20)
    keys, client = own.pulls.store.keys, own.pulls.store.client
    lost = {"attempt": 0, "nonce": "", "writer": "", "tail": 0, "safe": 0, "status": "queued", "lease_ms": 0}
    async with client.pipeline(transaction=True) as pipe:
        pipe.delete(keys.stream(stream_id))
        pipe.hset(keys.meta(stream_id), mapping=lost)
        pipe.hdel(keys.meta(stream_id), "fence:1", "worker:1")
        await pipe.execute()
    meta = await own.pulls.until_over(stream_id, within_s=15)
    assert meta.status == "done", meta.error
    assert await own.pulls.parts(stream_id) == expected(script)


async def test_an_ending_that_a_failover_has_lost_is_written_again(own: Own) -> None:
    """As on a replica that was promoted before it heard of the end: the answer is not asked for a second time."""
    script = Script(key(), chunks=120, rate=60)
    stream_id = await own.create(script)
    await own.pulls.until_tail(stream_id, 100)
    keys, client = own.pulls.store.keys, own.pulls.store.client
    names = keys.of_stream(stream_id)
    async with client.pipeline(transaction=True) as pipe:
        for name in names:
            pipe.dump(name)
        held = dict(zip(names, await pipe.execute(), strict=True))
    ended = await own.pulls.until_over(stream_id)

    async with client.pipeline(transaction=True) as pipe:
        for name in names:
            pipe.delete(name)
            if held[name] is not None:
                pipe.restore(name, 60_000, held[name])
        await pipe.execute()
    assert (await own.pulls.meta(stream_id)).status == "running"

    again = await own.pulls.until_over(stream_id, within_s=8)
    assert (again.status, again.tail, again.usage) == ("done", ended.tail, ended.usage)
    assert (again.finish_reason, len(again.fences)) == (ended.finish_reason, 1)
    assert await own.pulls.parts(stream_id) == expected(script)
    assert len(own.pulls.providers[0].seen()) == 1
