"""The stream that a client's thread is at."""

import asyncio

from shared.log.keys import thread_name
from shared.store.redis.store import RedisStore
from shared.store.store import Store
from tests.support.waiting import eventually

__all__ = ()

NAME = thread_name("acme", "ai-sdk", "chat-7", buckets=16)
ONE, OTHER = "3f" + "1" * 30, "3f" + "2" * 30


async def test_the_last_stream_of_a_thread_counts(any_store: Store) -> None:
    assert await any_store.current(NAME, expires_ms=60_000) is None
    for stream_id in (ONE, OTHER):
        await any_store.set_current(NAME, stream_id, expires_ms=60_000)
        assert await any_store.current(NAME, expires_ms=60_000) == stream_id


async def test_what_a_thread_is_at_expires(any_store: Store) -> None:
    await any_store.set_current(NAME, ONE, expires_ms=100)
    await asyncio.sleep(0.15)
    assert await any_store.current(NAME, expires_ms=100) is None


async def test_whoever_asks_keeps_it(real_store: RedisStore) -> None:
    await real_store.set_current(NAME, ONE, expires_ms=5_000)
    await real_store.current(NAME, expires_ms=60_000)

    async def is_kept() -> bool:
        left_ms: int = await real_store.client.pttl(real_store.keys.current(NAME))
        return left_ms > 50_000

    await eventually(is_kept)
