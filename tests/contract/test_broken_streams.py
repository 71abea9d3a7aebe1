"""One stream that nobody can read any more: named where it shows, and in nobody else's way."""

import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

import pytest

from shared.errors import StoreMisused
from shared.log.position import START
from shared.store.calls import LeaseRenewal
from shared.store.redis.store import RedisStore
from shared.store.replies import Beating
from shared.store.state import Recount
from tests.support.streams import OVER_MS, RETENTION, TENANT, append, begin, claim, create, nonce, texts, write

__all__ = ()

Harm = Callable[[Any, str], Awaitable[object]]


async def key_of_another_type(client: Any, meta: str) -> None:
    expires_ms = await client.pexpiretime(meta)
    await client.set(meta, "somebody's", pxat=expires_ms)


def with_field(name: str, value: str) -> Harm:
    async def harm(client: Any, meta: str) -> None:
        await client.hset(meta, name, value)

    return harm


async def without_its_fence(client: Any, meta: str) -> None:
    await client.hdel(meta, "fence:1")


HARMS: dict[str, Harm] = {
    "another type": key_of_another_type,
    "a tail below nothing": with_field("tail", "-1"),
    "a tail that is no number": with_field("tail", "many"),
    "no tail of ours": with_field("tail", "1e3"),
    "an attempt below nothing": with_field("attempt", "-1"),
    "an attempt that nobody claimed": with_field("attempt", "7"),
    "a fence that is no JSON": with_field("fence:1", "{"),
    "a fence without its nonce": with_field("fence:1", "{}"),
    "no fence": without_its_fence,
    "metadata that is no JSON": with_field("metadata", '{"a":'),
    "bytes that are no UTF-8": with_field("tenant", cast("str", b"\xff")),
    "a time that is none": with_field("created_ms", "yesterday"),
}


@pytest.fixture(params=HARMS)
async def broken(request: pytest.FixtureRequest, real_store: RedisStore) -> str:
    stream_id = await begin(real_store)
    await write(real_store, stream_id, "text")
    await HARMS[request.param](cast("Any", real_store.client), real_store.keys.meta(stream_id))
    return stream_id


async def test_a_broken_meta_is_named_and_is_not_in_the_way_of_the_list(
    real_store: RedisStore, broken: str, caplog: pytest.LogCaptureFixture
) -> None:
    others = [await create(real_store) for _ in range(3)]
    key = real_store.keys.meta(broken)
    with caplog.at_level(logging.ERROR):
        listed = await real_store.listing(TENANT, status=None, limit=50, cursor=None)
    assert {meta.id for meta in listed.streams} == set(others)
    assert key in caplog.text
    for ask in (real_store.meta(broken), real_store.read(broken, START, limit=10)):
        with pytest.raises(StoreMisused, match=key.replace("{", r"\{")):
            await ask


async def test_a_broken_meta_is_not_in_the_way_of_those_who_look_after_all(real_store: RedisStore, broken: str) -> None:
    others = [await begin(real_store, stream_id=f"{broken[:2]}{number:030x}") for number in range(3)]
    assert {each.id for each in await real_store.eviction_candidates(limit=50)} >= set(others)
    assert set(await real_store.present([*others, broken, "f" * 32])) - {broken} == set(others)
    assert isinstance(await real_store.recount(broken[:2], limit=100), Recount)
    replies = await real_store.heartbeat([LeaseRenewal(each, nonce(1), 1000) for each in (*others, broken)], RETENTION)
    assert replies[:3] == [Beating(cancelling=False)] * 3


@pytest.mark.parametrize("name", ["stream", "meta", "blocks", "request", "leases", "created"])
async def test_a_key_of_another_type_is_named_by_whoever_meets_it(real_store: RedisStore, name: str) -> None:
    client, keys = cast("Any", real_store.client), real_store.keys
    stream_id = await create(real_store)
    of = stream_id[:2] if name in {"leases", "created"} else stream_id
    key: str = getattr(keys, name)(of)
    await client.delete(key)
    await (client.set(key, "x", px=60_000) if name != "request" else client.rpush(key, "x"))
    await client.pexpire(key, 60_000)

    async def use() -> None:
        await real_store.read(stream_id, START, limit=10)
        await claim(real_store, stream_id)

    with pytest.raises(StoreMisused) as refusal:
        await use()
    assert key in refusal.value.message
    assert "WRONGTYPE" in refusal.value.message


async def test_an_append_and_a_tail_name_it_too(real_store: RedisStore) -> None:
    stream_id = await begin(real_store)
    key = real_store.keys.stream(stream_id)
    await cast("Any", real_store.client).set(key, json.dumps({}), px=60_000)
    with pytest.raises(StoreMisused) as refusal:
        await append(real_store, stream_id, texts("text"))
    assert key in refusal.value.message
    tailer = real_store.tailer()
    with pytest.raises(StoreMisused) as refusal:
        await tailer.read({stream_id: START}, count=10, block_ms=None)
    await tailer.aclose()
    assert key in refusal.value.message


async def test_a_broken_meta_is_due_and_the_others_are_too(real_store: RedisStore) -> None:
    broken, sound = await begin(real_store, lease_ms=OVER_MS), await begin(real_store, lease_ms=OVER_MS)
    await key_of_another_type(cast("Any", real_store.client), real_store.keys.meta(broken))
    assert await real_store.due(limit=10) == [broken, sound]
