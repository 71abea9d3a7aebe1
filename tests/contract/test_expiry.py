"""Expiry: everything of a stream goes in the same millisecond, a tombstone stays and says when."""

from dataclasses import replace
from typing import Any, cast

from shared.log.position import START
from shared.store.calls import LeaseRenewal, Retention
from shared.store.redis.store import RedisStore
from shared.store.replies import Beating, Claimed, Created, Gone
from shared.store.state import Tombstone
from shared.store.store import Store
from tests.support.streams import (
    OVER_MS,
    RETENTION,
    TENANT,
    append,
    begin,
    claim,
    create,
    end,
    new_stream,
    nonce,
    texts,
    write,
)
from tests.support.waiting import eventually

__all__ = ()

# Long enough for the few calls that have to come before it is over.
SHORT_MS = 250
SHORT = Retention(live_ms=SHORT_MS, retain_ms=SHORT_MS, tombstone_ms=60_000)
FLEETING = replace(SHORT, tombstone_ms=40)


async def vanished(store: Store, stream_id: str) -> None:
    async def is_gone() -> bool:
        return await store.meta(stream_id) is None

    await eventually(is_gone)


async def test_a_finished_stream_expires_and_says_when(any_store: Store) -> None:
    stream_id = await begin(any_store)
    await append(any_store, stream_id, texts("hi"), retention=SHORT)
    await any_store.release(stream_id, nonce(1))
    await any_store.cancel(stream_id, attempt=None, nonce=nonce(2), retention=SHORT)
    meta = await any_store.meta(stream_id)
    assert meta is not None
    await vanished(any_store, stream_id)
    assert await any_store.tombstone(stream_id) == Tombstone(TENANT, meta.finished_ms + SHORT_MS, deleted=False)
    assert await any_store.read(stream_id, START, limit=10) is None
    assert await any_store.present([stream_id]) == []
    assert (await any_store.listing(TENANT, status=None, limit=10, cursor=None)).streams == []


async def test_an_expired_stream_answers_gone(any_store: Store) -> None:
    stream_id = await begin(any_store, retention=SHORT)
    await vanished(any_store, stream_id)
    assert await append(any_store, stream_id, texts("late")) == Gone()
    assert await any_store.heartbeat([LeaseRenewal(stream_id, nonce(1), 1000)], RETENTION) == [Gone()]
    assert await claim(any_store, stream_id, 2) == Gone()
    assert await any_store.cancel(stream_id, attempt=None, nonce=nonce(2), retention=RETENTION) == Gone()
    assert await any_store.create(new_stream(stream_id), RETENTION) == Gone()
    assert await any_store.delete(stream_id, RETENTION) == Gone()


async def test_an_expired_stream_is_due_until_somebody_looks(any_store: Store) -> None:
    stream_id = await begin(any_store, retention=SHORT, lease_ms=OVER_MS)
    await vanished(any_store, stream_id)
    assert await any_store.due(limit=10) == [stream_id]
    assert await claim(any_store, stream_id, 2) == Gone()
    assert await any_store.due(limit=10) == []


async def test_an_id_is_free_again_when_its_tombstone_is_gone(any_store: Store) -> None:
    stream_id = await create(any_store, retention=FLEETING)

    async def is_forgotten() -> bool:
        return await any_store.tombstone(stream_id) is None

    await eventually(is_forgotten)
    assert isinstance(await any_store.create(new_stream(stream_id), RETENTION), Created)


async def test_a_deleted_streams_tombstone_expires_too(any_store: Store) -> None:
    stream_id = await create(any_store)
    await any_store.delete(stream_id, FLEETING)

    async def is_forgotten() -> bool:
        return await any_store.tombstone(stream_id) is None

    await eventually(is_forgotten)


async def test_a_heartbeat_keeps_a_stream_alive(any_store: Store) -> None:
    stream_id = await begin(any_store, retention=SHORT)
    meta = await any_store.meta(stream_id)
    assert meta is not None
    assert await any_store.heartbeat([LeaseRenewal(stream_id, nonce(1), 1000)], RETENTION) == [
        Beating(cancelling=False)
    ]
    after = await any_store.meta(stream_id)
    assert after is not None
    assert after.expires_ms >= meta.expires_ms - SHORT_MS + RETENTION.live_ms
    assert await any_store.tombstone(stream_id) == Tombstone(TENANT, after.expires_ms, deleted=False)

    async def is_past_its_first_expiry() -> bool:
        reply = await any_store.create(new_stream(), RETENTION)
        return isinstance(reply, Created) and reply.created_ms > meta.expires_ms + 5

    await eventually(is_past_its_first_expiry)
    await write(any_store, stream_id, "still here")


async def test_a_claim_keeps_a_stream_alive(any_store: Store) -> None:
    stream_id = await create(any_store, retention=replace(SHORT, live_ms=1000))
    assert isinstance(await claim(any_store, stream_id), Claimed)
    meta = await any_store.meta(stream_id)
    assert meta is not None
    assert meta.expires_ms == meta.started_ms + RETENTION.live_ms


async def test_statistics_let_go_of_what_expired(any_store: Store) -> None:
    """Nobody is told of an expiry; the next creations in the bucket notice."""
    for number in range(3):
        await create(any_store, stream_id=f"07{number:030x}", retention=SHORT)
    ended = await begin(any_store, stream_id=f"07{9:030x}", retention=SHORT)
    await append(any_store, ended, texts("x"), retention=SHORT)
    await any_store.release(ended, nonce(1))
    await any_store.cancel(ended, attempt=None, nonce=nonce(2), retention=SHORT)
    await vanished(any_store, ended)
    await create(any_store, stream_id="07" + "e" * 30)
    assert dict(await any_store.statistics()) == {"live": 1, "finished": 0, "created": 5}


async def expiries(store: RedisStore) -> dict[str, int]:
    """Every key there is, with the time of its expiry in ms; -1 for never."""
    prefix = store.keys.prefix
    found = [key async for key in store.client.scan_iter(match=f"{prefix}:*", count=1000)]
    return {key.decode(): int(await cast("Any", store.client).pexpiretime(key)) for key in found}


async def test_no_key_lives_for_ever(real_store: RedisStore) -> None:
    """Except the secret, which is no stream's."""
    await create(real_store)
    live = await begin(real_store)
    await write(real_store, live, "text", safe=0)
    await claim(real_store, live, 2, mode="continue", holder=nonce(1))
    await real_store.release(live, nonce(2))
    await end(real_store, await begin(real_store))
    await real_store.cancel(await create(real_store), attempt=None, nonce=nonce(1), retention=RETENTION)
    await real_store.delete(await begin(real_store), RETENTION)
    await real_store.secret()
    forever = [key for key, expires_ms in (await expiries(real_store)).items() if expires_ms == -1]
    assert forever == [real_store.keys.secret]


async def test_all_keys_of_a_stream_expire_in_the_same_millisecond(real_store: RedisStore) -> None:
    keys = real_store.keys

    async def check(stream_id: str, *names: str) -> None:
        found, meta = await expiries(real_store), await real_store.meta(stream_id)
        assert meta is not None
        own = {key: at for key, at in found.items() if key.endswith(stream_id) and "tombstone" not in key}
        assert own == {getattr(keys, name)(stream_id): meta.expires_ms for name in names}
        assert found[keys.tombstone(stream_id)] == meta.expires_ms + RETENTION.tombstone_ms
        bucket = stream_id[:2]
        for shared_key in (keys.leases(bucket), keys.recent(bucket), keys.usage(bucket), keys.created(bucket)):
            assert found.get(shared_key, meta.expires_ms + RETENTION.tombstone_ms) >= found[keys.tombstone(stream_id)]

    stream_id = await create(real_store)
    await check(stream_id, "meta", "request")
    await claim(real_store, stream_id)
    await check(stream_id, "meta", "request", "stream")
    await write(real_store, stream_id, "text")
    await real_store.heartbeat([LeaseRenewal(stream_id, nonce(1), 1000)], RETENTION)
    await check(stream_id, "meta", "request", "stream")
    await end(real_store, stream_id, tail=4)
    await check(stream_id, "meta", "stream")


async def test_a_short_stream_does_not_take_the_indexes_with_it(real_store: RedisStore) -> None:
    long = await create(real_store, stream_id="07" + "1" * 30)
    await create(real_store, stream_id="07" + "2" * 30, retention=FLEETING)
    found, meta = await expiries(real_store), await real_store.meta(long)
    assert meta is not None
    keys = real_store.keys
    for key in (keys.leases("07"), keys.recent("07"), keys.usage("07"), keys.created("07")):
        assert found[key] == meta.expires_ms + RETENTION.tombstone_ms
