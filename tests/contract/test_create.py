"""create: CREATED, EXISTS, GONE."""

import time

from shared.log.keys import derived_id
from shared.store.redis.store import RedisStore
from shared.store.replies import Created, Exists, Gone
from shared.store.store import Store
from tests.support.streams import RETENTION, TENANT, begin, create, end, new_stream, write

__all__ = ()

CLOCK_SKEW_MS = 1000


async def test_a_created_stream_is_queued(any_store: Store) -> None:
    new = new_stream(digest="d1", metadata=b'{"chat":"7"}', interruption="continue", dispatch_ms=5000)
    reply = await any_store.create(new, RETENTION)
    meta = await any_store.meta(new.id)
    assert isinstance(reply, Created)
    assert meta is not None
    assert abs(reply.created_ms - time.time() * 1000) < CLOCK_SKEW_MS
    assert (meta.id, meta.tenant, meta.model, meta.status) == (new.id, TENANT, "small", "queued")
    assert (meta.attempt, meta.nonce, meta.tail, meta.folded, meta.trimmed) == (0, "", 0, 0, 0)
    assert meta.bytes == len(new.request) + len(new.metadata)
    assert (meta.metadata, meta.interruption, meta.fences) == ({"chat": "7"}, "continue", ())
    assert (meta.usage, meta.error, meta.finish_reason, meta.worker, meta.provider) == (None, None, "", "", "")
    assert meta.created_ms == reply.created_ms
    assert meta.lease_ms == reply.created_ms + 5000
    assert meta.expires_ms == reply.created_ms + RETENTION.live_ms
    assert (meta.started_ms, meta.first_ms, meta.finished_ms) == (0, 0, 0)
    assert not meta.cancelling
    assert not meta.is_over


async def test_without_an_interruption_policy_none_is_kept(any_store: Store) -> None:
    meta = await any_store.meta(await create(any_store))
    assert meta is not None
    assert (meta.interruption, meta.metadata) == ("", {})


async def test_a_taken_id_exists(any_store: Store) -> None:
    new = new_stream(digest="d1")
    await any_store.create(new, RETENTION)
    again = new_stream(new.id, digest="d2", tenant="other", model="large")
    assert await any_store.create(again, RETENTION) == Exists("d1", "queued", TENANT)
    meta = await any_store.meta(new.id)
    assert meta is not None
    assert (meta.model, meta.tenant) == ("small", TENANT)


async def test_an_existing_stream_says_how_it_stands(any_store: Store) -> None:
    stream_id = await begin(any_store)
    assert await any_store.create(new_stream(stream_id), RETENTION) == Exists("", "running", TENANT)
    await end(any_store, stream_id, tail=await write(any_store, stream_id, "hi"))
    assert await any_store.create(new_stream(stream_id), RETENTION) == Exists("", "done", TENANT)


async def test_an_idempotency_key_leads_to_the_same_stream(any_store: Store) -> None:
    secret = await any_store.secret()
    first, second = (derived_id(secret, TENANT, "order-7", buckets=16) for _ in range(2))
    assert isinstance(await any_store.create(new_stream(first, digest="d"), RETENTION), Created)
    assert await any_store.create(new_stream(second, digest="d"), RETENTION) == Exists("d", "queued", TENANT)


async def test_a_deleted_id_is_not_used_again(any_store: Store) -> None:
    stream_id = await create(any_store)
    await any_store.delete(stream_id, RETENTION)
    assert await any_store.create(new_stream(stream_id), RETENTION) == Gone()
    assert await any_store.meta(stream_id) is None


async def test_a_lost_secret_is_agreed_upon_again(real_store: RedisStore) -> None:
    """Who has known it puts it back; if somebody was faster, that one is everybody's."""
    first = await real_store.secret()
    assert await real_store.secret(known=b"somebody else's") == first
    await real_store.client.delete(real_store.keys.secret)
    assert await real_store.secret(known=first) == first
    assert await real_store.secret() == first
    await real_store.client.delete(real_store.keys.secret)
    second = await real_store.secret()
    assert second != first
    assert await real_store.secret(known=first) == second
