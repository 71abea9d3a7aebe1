"""heartbeat: BEATING, FENCED, CLOSED, GONE. release likewise."""

import pytest

from shared.store.calls import LeaseRenewal
from shared.store.replies import Beating, Claimed, Closed, Fenced, Gone, Held
from shared.store.store import Store
from tests.support.streams import OVER_MS, REQUEST, RETENTION, begin, claim, create, end, nonce

__all__ = ()

NOBODY = "f" * 32


async def test_a_heartbeat_renews_the_lease(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    assert await any_store.due(limit=10) == [stream_id]
    assert await any_store.heartbeat([LeaseRenewal(stream_id, nonce(1), 60_000)], RETENTION) == [
        Beating(cancelling=False)
    ]
    assert await any_store.due(limit=10) == []
    meta = await any_store.meta(stream_id)
    assert meta is not None
    assert meta.expires_ms == meta.lease_ms - 60_000 + RETENTION.live_ms
    assert await claim(any_store, stream_id, 2) == Held(meta.lease_ms)


async def test_many_heartbeats_have_an_answer_each(any_store: Store) -> None:
    live, ended = await begin(any_store), await begin(any_store)
    await end(any_store, ended)
    beats = [
        LeaseRenewal(live, nonce(1), 1000),
        LeaseRenewal(live, nonce(2), 1000),
        LeaseRenewal(ended, nonce(1), 1000),
        LeaseRenewal(NOBODY, "", 1),
    ]
    replies = await any_store.heartbeat(beats, RETENTION)
    assert replies == [Beating(cancelling=False), Fenced(1), Closed("done", 1), Gone()]


async def test_a_heartbeat_tells_of_the_cancel(any_store: Store) -> None:
    stream_id = await begin(any_store)
    await any_store.cancel(stream_id, attempt=None, nonce=nonce(9), retention=RETENTION)
    assert await any_store.heartbeat([LeaseRenewal(stream_id, nonce(1), 1000)], RETENTION) == [Beating(cancelling=True)]


async def test_a_stream_that_nobody_writes_has_no_heart(any_store: Store) -> None:
    stream_id = await create(any_store)
    assert await any_store.heartbeat([LeaseRenewal(stream_id, nonce(1), 1000)], RETENTION) == [Gone()]


async def test_a_released_stream_can_be_claimed_at_once(any_store: Store) -> None:
    stream_id = await begin(any_store)
    assert isinstance(await claim(any_store, stream_id, 2), Held)
    assert await any_store.release(stream_id, nonce(1)) == Beating(cancelling=False)
    assert await any_store.due(limit=10) == [stream_id]
    assert await claim(any_store, stream_id, 2) == Claimed(2, 0, REQUEST)


@pytest.mark.parametrize("number", [1, 2])
async def test_release_is_for_the_holder(any_store: Store, number: int) -> None:
    stream_id = await begin(any_store)
    assert await any_store.release(stream_id, nonce(2)) == Fenced(1)
    assert isinstance(await claim(any_store, stream_id, 2), Held)
    await end(any_store, stream_id)
    assert await any_store.release(stream_id, nonce(number)) == (Closed("done", 1) if number == 1 else Fenced(1))
    assert await any_store.release(NOBODY, nonce(1)) == Gone()


async def test_release_tells_of_the_cancel(any_store: Store) -> None:
    stream_id = await begin(any_store)
    await any_store.cancel(stream_id, attempt=None, nonce=nonce(9), retention=RETENTION)
    assert await any_store.release(stream_id, nonce(1)) == Beating(cancelling=True)
