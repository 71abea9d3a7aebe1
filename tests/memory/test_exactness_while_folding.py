"""The promise of tests/edge/test_exactness.py with a fold after nearly every append, and blocks far too small."""

import asyncio
import random
from collections.abc import Iterator
from typing import Any

import pytest

from shared.log.keys import Keyspace
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from tests.conftest import own_keyspace, remove_keys
from tests.edge.test_exactness import Heard, assert_all_join, assert_joins, prefix_of, rest_of
from tests.support.calls import ask
from tests.support.script import Script, expected, steps
from tests.support.sse_client import NDJSON, SSE, History, SseParser, follow
from tests.support.stack import Stack, running_stack
from tests.support.waiting import eventually

__all__ = ()

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CHUNKS, LIVE_RATE = 2_100, 300
READERS = 15
AT_ONCE = 100


@pytest.fixture
def folding(redis_url: str) -> Iterator[Stack]:
    keyspace = own_keyspace()
    folds: dict[str, Any] = {"fold_bytes": 1, "block_bytes": 3_000, "fold_after_s": 0.2, "budget_s": 0.2}
    with running_stack(redis_url=redis_url, prefix=keyspace.prefix, edges=2, feed_bytes=2_000, **folds) as stack:
        yield stack
    asyncio.run(remove_keys(redis_url, keyspace))


async def test_every_position_resumes_exactly_while_the_log_is_folded(folding: Stack, redis_url: str) -> None:
    first, other = folding.ports
    script = Script("folding", chunks=CHUNKS, rate=LIVE_RATE, kinds="mixed")
    stream_id = await ask(first, script)
    heard = Heard()
    live: dict[str, bytes] = {}

    async def resume(cursor: str) -> None:
        live[cursor] = await rest_of(other, stream_id, cursor)

    async def come_and_go(seed: int) -> History:
        chance = random.Random(seed)
        return await follow(folding.ports, stream_id, chance=chance, wires=(SSE, NDJSON), patience=40)

    async with asyncio.TaskGroup() as group:
        group.create_task(heard.listen(first, stream_id))
        wanderers = [group.create_task(come_and_go(seed)) for seed in range(READERS)]
        started = 0
        while not heard.is_over:
            await heard.more.wait()
            heard.more.clear()
            for cursor in heard.ids[started:]:
                group.create_task(resume(cursor))
            started = len(heard.ids)

    whole = History(stream_id)
    for item in SseParser().feed(bytes(heard.raw)):
        whole.take(item)
    assert whole.spoken() == expected(script)
    assert_all_join(heard, live, whole)
    for task in wanderers:
        history = task.result()
        assert history.spoken() == expected(script)
        assert not history.resets

    store = RedisStore(open_client(redis_url), Keyspace(folding.settings["prefix"]))

    async def is_folded() -> bool:
        meta = await store.meta(stream_id)
        return meta is not None and meta.folded == meta.tail - 1

    await eventually(is_folded, within_s=20)
    assert (await store.usage()).compactions > 50
    await store.aclose()

    gate = asyncio.Semaphore(AT_ONCE)
    finished: dict[str, bytes] = {}

    async def resume_finished(cursor: str) -> None:
        async with gate:
            finished[cursor] = await rest_of(first, stream_id, cursor)

    await asyncio.gather(*map(resume_finished, heard.ids))
    assert_all_join(heard, finished, whole)

    async def resume_after_chunk(offset: int) -> None:
        cursor = f"1-{offset}.{whole.nonces[1]}"
        held = History(stream_id, cursor=cursor, units=offset, attempt=1, parts=prefix_of(whole, offset))
        async with gate:
            rest = await rest_of(other, stream_id, cursor)
        assert_joins(held, rest, whole)

    ends = chunk_ends(script)
    assert len(ends) >= 2_000
    await asyncio.gather(*map(resume_after_chunk, ends))


def chunk_ends(script: Script) -> list[int]:
    """Where each of the provider's chunks ends, whether or not an event ended there as well."""
    ends, offset, is_open = [], 0, False
    for step in steps(script):
        offset += len(step.text.encode()) + (step.kind == "tool_call" and not is_open)
        is_open = step.kind == "tool_call"
        ends.append(offset)
    return ends
