"""A Redis without memory: what would grow is refused before it starts, every way to an end stays open."""

import pytest

from shared.errors import StoreFull
from shared.log import events
from shared.store.calls import Append, LeaseRenewal
from shared.store.redis.store import RedisStore
from shared.store.replies import Beating, Cancelling, Deleted, Ended
from tests.support.streams import OVER_MS, RETENTION, begin, claim, create, log, new_stream, nonce, texts, write

__all__ = ()


async def starve(store: RedisStore) -> None:
    await store.client.config_set("maxmemory", "1")


async def test_nothing_grows(own_store: RedisStore) -> None:
    live, abandoned = await begin(own_store), await begin(own_store, lease_ms=OVER_MS)
    await write(own_store, live, "before")
    log_before, meta_before = await log(own_store, live), await own_store.meta(live)
    await starve(own_store)
    assert (await log(own_store, live), await own_store.meta(live)) == (log_before, meta_before)
    refused = await own_store.append([Append(live, nonce(1), 6, texts("a", "b"), 8)] * 2, RETENTION)
    assert [type(answer) for answer in refused] == [StoreFull, StoreFull]
    with pytest.raises(StoreFull):
        await own_store.create(new_stream(), RETENTION)
    with pytest.raises(StoreFull):
        await claim(own_store, abandoned, 2)
    assert await log(own_store, live) == log_before
    assert await own_store.meta(live) == meta_before


async def test_every_way_to_an_end_is_open(own_store: RedisStore) -> None:
    live, abandoned, crashed, unwanted = [await begin(own_store, lease_ms=ms) for ms in (60_000, -1, -1, 60_000)]
    queued = await create(own_store)
    failure = events.error("store_full", "The stream store has no room.", retryable=True)
    await starve(own_store)
    assert await own_store.cancel(live, attempt=None, nonce=nonce(2), retention=RETENTION) == Cancelling()
    assert await own_store.cancel(abandoned, attempt=None, nonce=nonce(2), retention=RETENTION) == Ended(2, 1)
    assert await own_store.cancel(queued, attempt=None, nonce=nonce(2), retention=RETENTION) == Ended(1, 1)
    assert await own_store.finish(crashed, failure, nonce=nonce(2), retention=RETENTION) == Ended(2, 1)
    assert await own_store.delete(unwanted, RETENTION) == Deleted()
    assert await own_store.release(live, nonce(1)) == Beating(cancelling=True)
    assert await own_store.finish(live, failure, nonce=nonce(2), retention=RETENTION) == Ended(2, 1)
    assert [entry.event for entry in await log(own_store, crashed)][-1] == failure


async def test_no_writer_loses_its_lease(own_store: RedisStore) -> None:
    stream_id = await begin(own_store, lease_ms=OVER_MS)
    await starve(own_store)
    assert await own_store.heartbeat([LeaseRenewal(stream_id, nonce(1), 60_000)], RETENTION) == [
        Beating(cancelling=False)
    ]
    assert await own_store.due(limit=10) == []


async def test_it_goes_on_when_there_is_room_again(own_store: RedisStore) -> None:
    stream_id = await begin(own_store)
    await starve(own_store)
    (refused,) = await own_store.append([Append(stream_id, nonce(1), 0, texts("a"), 1)], RETENTION)
    assert isinstance(refused, StoreFull)
    await own_store.client.config_set("maxmemory", "0")
    assert await write(own_store, stream_id, "a") == 1
