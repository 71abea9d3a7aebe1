"""The keys as an operator sees them: names, types, fields."""

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from services.worker.attempts.attempt import answered
from shared.log import events
from shared.store.calls import Append, Compact
from shared.store.redis.store import RedisStore
from shared.store.replies import Compacted, CompactReply, Live
from tests.support.streams import RETENTION, append, begin, claim, create, end, nonce, write
from tests.support.waiting import eventually

__all__ = ()

SAMPLE, TRIMMED, EXPIRED = ("3f" + digit * 30 for digit in "012")
PROTOCOL = (Path(__file__).parents[2] / "shared" / "PROTOCOL.md").read_text("utf-8")
COUNTS = ("input_tokens", "output_tokens", "total_tokens", "reasoning_tokens", "cached_tokens")


def documented(key: str) -> set[str]:
    """The fields of a hash by the table of the protocol that begins with `| field of `<key>` |`."""
    table = PROTOCOL.partition(f"| field of `{key}` |")[2].partition("\n\n")[0]
    cells = re.findall(r"^\| (`.*?`) \|", table, re.MULTILINE)
    return {name for cell in cells for name in re.findall(r"`([^`]+)`", cell)}


def kinds(fields: Iterable[bytes]) -> set[str]:
    """Names of fields, with numbers of attempts and tenants as the protocol writes them."""
    names = (re.sub(r":\d+$", ":<attempt>", field.decode()) for field in fields)
    return {re.sub(r"^bytes:.*", "bytes:<tenant>", name) for name in names}


async def fields_of(store: RedisStore, key: str) -> set[str]:
    return kinds(await cast("Any", store.client).hkeys(key))


async def fold(store: RedisStore, stream_id: str, **options: Any) -> CompactReply:
    (reply,) = await store.compact([Compact(stream_id, **options)])
    assert not isinstance(reply, Exception)
    return reply


async def full_life(store: RedisStore) -> tuple[str, list[set[str]]]:
    """A stream that had a bit of everything, and the fields of its meta after each step."""
    stream_id = await create(store, stream_id=SAMPLE, digest="d" * 64, interruption="continue")
    key = store.keys.meta(stream_id)
    seen = [await fields_of(store, key)]
    await claim(store, stream_id)
    tail = await write(store, stream_id, *(["word "] * 50), provider="openai")
    seen.append(await fields_of(store, key))
    assert isinstance(await fold(store, stream_id, nonce=nonce(1)), Compacted)
    spent: dict[str, Any] = {"usage:1": "by=openai in=17 out=6 total=23", "error": "{}", "finish_reason": "stop"}
    spent["excused"] = 1
    await append(store, stream_id, [events.done("stop")], tail=tail, **spent)
    seen.append(await fields_of(store, key))
    assert isinstance(await fold(store, stream_id, nonce=""), Compacted)
    seen.append(await fields_of(store, key))
    return stream_id, seen


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
        ":{3f}:created": "zset",
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


async def test_the_fields_of_meta_are_those_of_the_protocol(real_store: RedisStore) -> None:
    _, seen = await full_life(real_store)
    assert [fields - documented("meta") for fields in seen] == [set()] * len(seen)
    assert set().union(*seen) == documented("meta")


async def test_the_fields_of_usage_are_those_of_the_protocol(real_store: RedisStore) -> None:
    stream_id, _ = await full_life(real_store)
    key = real_store.keys.usage(stream_id[:2])
    await real_store.recount(stream_id[:2], limit=1000)
    seen = await fields_of(real_store, key)
    await real_store.evict([stream_id], why="evicted", tombstone_ms=0)
    await real_store.delete(await trimmed(real_store), RETENTION)
    await expired(real_store)
    assert seen | await fields_of(real_store, key) == documented("usage")


async def trimmed(store: RedisStore) -> str:
    """A stream that has lost its beginning to its byte budget."""
    stream_id, tail = await begin(store, stream_id=TRIMMED), 0
    for _ in range(10):
        tail = await write(store, stream_id, "w" * 1000, tail=tail)
        await fold(store, stream_id, nonce=nonce(1), block_bytes=2_000, max_bytes=6_000)
    return stream_id


async def expired(store: RedisStore) -> None:
    """A stream that goes because its time is up."""
    stream_id, short = await create(store, stream_id=EXPIRED), replace(RETENTION, retain_ms=200)
    await store.cancel(stream_id, attempt=None, nonce=nonce(1), retention=short)
    await fold(store, stream_id, nonce="")

    async def is_evicted() -> bool:
        return await store.evict([stream_id], why="expired", tombstone_ms=0) != [Live()]

    await eventually(is_evicted)


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


async def test_a_stream_of_an_older_version_comes_into_the_order_of_creation(real_store: RedisStore) -> None:
    """That version creates and removes without this index: a claim adds to it, a recount puts all of it right."""
    client, keys = cast("Any", real_store.client), real_store.keys
    claimed, queued, gone = (f"3f{number:030x}" for number in range(3))
    for stream_id in (claimed, queued, gone):
        await create(real_store, stream_id=stream_id)
    await client.delete(keys.created("3f"))
    await claim(real_store, claimed)
    meta = await real_store.meta(claimed)
    assert meta is not None
    assert await client.zrange(keys.created("3f"), 0, -1, withscores=True) == [(claimed.encode(), meta.created_ms)]
    await real_store.delete(gone, RETENTION)
    await client.delete(keys.created("3f"))
    await client.zadd(keys.created("3f"), {gone: 1, "f" * 32: 2, "e" * 32: 3})
    assert await real_store.recount("3f", limit=100) is not None
    assert set(await client.zrange(keys.created("3f"), 0, -1)) == {claimed.encode(), queued.encode()}
    assert await client.pexpiretime(keys.created("3f")) == await client.pexpiretime(keys.recent("3f"))


async def test_leases_and_recent_are_scored_in_ms(real_store: RedisStore) -> None:
    stream_id = await begin(real_store)
    meta = await real_store.meta(stream_id)
    assert meta is not None
    client, keys = cast("Any", real_store.client), real_store.keys
    assert await client.zscore(keys.leases(stream_id[:2]), stream_id) == meta.lease_ms
    assert await client.zscore(keys.recent(stream_id[:2]), stream_id) >= meta.created_ms
    tombstone = await client.hgetall(keys.tombstone(stream_id))
    assert tombstone == {b"tenant": meta.tenant.encode(), b"gone_ms": str(meta.expires_ms).encode()}
