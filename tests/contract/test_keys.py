"""The keys as an operator sees them: names, types, fields."""

from typing import Any, cast

import pytest

from services.worker.attempt import answered
from shared import events
from shared.redis_store import RedisStore
from shared.store import Append
from tests.support.streams import RETENTION, begin, create, end, nonce, write

__all__ = ()

SAMPLE = "3f" + "0" * 30
COUNTS = ("input_tokens", "output_tokens", "total_tokens", "reasoning_tokens", "cached_tokens")


async def types(store: RedisStore) -> dict[str, str]:
    """Every key of the store, without its prefix, and its type."""
    client, start = cast("Any", store.client), len(store.keys.prefix)
    found = [key async for key in client.scan_iter(match=f"{store.keys.prefix}:*", count=1000)]
    return {key.decode()[start:]: (await client.type(key)).decode() for key in found}


async def test_the_keys_of_a_live_stream(real_store: RedisStore) -> None:
    await write(real_store, await begin(real_store, stream_id=SAMPLE), "text")
    found = await types(real_store)
    expected = {
        f":{{3f}}:stream:{SAMPLE}": "stream",
        f":{{3f}}:meta:{SAMPLE}": "hash",
        f":{{3f}}:request:{SAMPLE}": "string",
        f":{{3f}}:tombstone:{SAMPLE}": "hash",
        ":{3f}:leases": "zset",
        ":{3f}:recent": "zset",
        ":{3f}:usage": "hash",
    }
    assert expected.items() <= found.items()


async def test_an_entry_is_one_field_named_by_its_kind(real_store: RedisStore) -> None:
    stream_id = await begin(real_store)
    await end(real_store, stream_id, tail=await write(real_store, stream_id, "h€llo"))
    entries = await cast("Any", real_store.client).xrange(real_store.keys.stream(stream_id))
    assert [(entry_id, list(fields)) for entry_id, fields in entries] == [
        (b"1-0", [b"fence"]),
        (b"1-7", [b"text"]),
        (b"1-8", [b"done"]),
    ]
    assert entries[1][1] == {b"text": "h€llo".encode()}
    fence = f'{{"nonce":"{nonce(1)}","keep":0,"reason":"start","worker":"worker-1"}}'
    assert entries[0][1] == {b"fence": fence.encode()}


async def test_meta_is_a_small_hash_after_a_usual_answer(real_store: RedisStore) -> None:
    stream_id = await begin(real_store, digest="d" * 64)
    tail = await write(real_store, stream_id, "text")
    counts = dict(zip(COUNTS, (12_345, 12_345, 24_690, 1234, 12_345), strict=True))
    event, updates = answered("stop", {1: {"provider": "openai", **counts}})
    await real_store.append(
        [Append(stream_id, nonce(1), tail, [events.usage(counts), event], tail + 2, updates)], RETENTION
    )
    meta = await real_store.meta(stream_id)
    assert meta is not None
    assert meta.usage == event.fields()["usage"]
    encoding = await cast("Any", real_store.client).object("ENCODING", real_store.keys.meta(stream_id))
    assert encoding == b"listpack"


async def test_the_request_goes_with_the_end(real_store: RedisStore) -> None:
    stream_id = await begin(real_store)
    await end(real_store, stream_id)
    assert f":{{{stream_id[:2]}}}:request:{stream_id}" not in await types(real_store)


@pytest.mark.parametrize("claimed", [True, False])
async def test_of_a_deleted_stream_only_the_tombstone_is_left(real_store: RedisStore, *, claimed: bool) -> None:
    stream_id = await (begin if claimed else create)(real_store)
    await real_store.delete(stream_id, RETENTION)
    left = [key for key in await types(real_store) if key.endswith(stream_id)]
    assert left == [f":{{{stream_id[:2]}}}:tombstone:{stream_id}"]


async def test_leases_and_recent_are_scored_in_ms(real_store: RedisStore) -> None:
    stream_id = await begin(real_store)
    meta = await real_store.meta(stream_id)
    assert meta is not None
    client, keys = cast("Any", real_store.client), real_store.keys
    assert await client.zscore(keys.leases(stream_id[:2]), stream_id) == meta.lease_ms
    assert await client.zscore(keys.recent(stream_id[:2]), stream_id) >= meta.created_ms
    tombstone = await client.hgetall(keys.tombstone(stream_id))
    assert tombstone == {b"tenant": meta.tenant.encode(), b"gone_ms": str(meta.expires_ms).encode()}
