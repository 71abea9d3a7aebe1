"""An answer that is interrupted twice, by a provider that says its last words again each time it goes on."""

import asyncio

import pytest

from shared.log.keys import Keyspace
from shared.store.redis.store import RedisStore
from shared.store.state import Meta
from tests.support.pulling import Pulling, key, pulling
from tests.support.script import Fault, Script, expected

__all__ = ()

# None, one that is shorter than what an attempt said, and one that is longer: it crosses the first seam.
REPEATS = (0, 20, 30, 600)
# Enough for a new start after each interruption, where a repetition cannot be told from the text.
ATTEMPTS = 8
MESSAGE = ("message",)


async def check(pulls: Pulling, script: Script, meta: Meta, stream_id: str) -> None:
    """The text is the script's, and was begun anew only where nobody could tell how it goes on."""
    assert meta.status == "done", (script, meta.error, meta.fences)
    assert await pulls.parts(stream_id) == expected(script), (script, meta.fences)
    assert all(fence.keep or fence.reason == "not_continuable" for fence in meta.fences[1:]), (script, meta.fences)


@pytest.mark.parametrize("repeat", REPEATS)
async def test_by_workers_that_are_killed(store: RedisStore, redis_url: str, keys: Keyspace, repeat: int) -> None:
    """One worker has all the streams, so that each of them loses it twice."""
    async with pulling(
        store, redis_url, keys, workers=1, continuations=MESSAGE, max_attempts=ATTEMPTS, lease_s=1.0, heartbeat_s=0.25
    ) as pulls:
        scripts = [Script(key(), chunks=400, rate=100, repeat=repeat) for _ in range(10)]
        ids = [await pulls.create(script) for script in scripts]
        (worker,) = pulls.workers
        for attempt in (1, 2):
            for stream_id in ids:
                await _until_attempt_says(pulls, stream_id, attempt, 20 + 40 * attempt)
            worker.kill()
            worker.launch()
        metas = [await pulls.until_over(stream_id, within_s=30) for stream_id in ids]

        for script, meta, stream_id in zip(scripts, metas, ids, strict=True):
            await check(pulls, script, meta, stream_id)
            assert [fence.reason for fence in meta.fences].count("takeover") == 2
    assert sum(len(meta.fences) == 3 for meta in metas) > len(metas) / 3, "too timid to prove anything"


async def _until_attempt_says(pulls: Pulling, stream_id: str, attempt: int, size: int) -> None:
    """Wait until an attempt that is at least this one has written so much."""
    async with asyncio.timeout(20):
        while True:
            meta = await pulls.meta(stream_id)
            if meta.attempt >= attempt and meta.tail >= meta.fences[-1].keep + size:
                return
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("repeat", REPEATS)
async def test_by_a_provider_that_is_cut(store: RedisStore, redis_url: str, keys: Keyspace, repeat: int) -> None:
    """After 1, what is held back of the second answer is all that there is of it."""
    async with pulling(store, redis_url, keys, workers=1, continuations=MESSAGE, max_attempts=ATTEMPTS) as pulls:
        scripts = [
            Script(key(), chunks=200, repeat=repeat, fault=Fault(kind, after=after, times=2))
            for after in (1, 2, 3, 5, 8, 40, 90)
            for kind in ("cut", "reset", "error_frame", "eof")
        ]
        ids = [await pulls.create(script) for script in scripts]
        metas = [await pulls.until_over(stream_id) for stream_id in ids]

        for script, meta, stream_id in zip(scripts, metas, ids, strict=True):
            await check(pulls, script, meta, stream_id)
    assert sum(all(fence.keep for fence in meta.fences[1:]) for meta in metas) > len(metas) / 3, "too timid"
