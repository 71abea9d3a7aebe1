"""Who goes when memory is short, who never does, and what is counted."""

import asyncio
from contextlib import AsyncExitStack
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.bench.author import Author, opened_author
from services.edge.access.admission import Admission
from services.worker.upkeep.budget import Budget, limit_bytes
from shared.errors import MemoryPressure
from shared.log import events
from shared.settings.settings import Settings
from shared.store.accounting import TombstoneAccounting
from shared.store.calls import Compact, LeaseRenewal
from shared.store.redis.store import RedisStore
from shared.store.replies import Evicted, Gone, Live
from shared.store.state import ByteSums, Recount, Server
from shared.store.store import Store
from shared.telemetry.metrics import Metrics
from tests.support.redis_server import running_redis
from tests.support.streams import REQUEST, RETENTION, append, begin, claim, create, end, nonce, texts, write
from tests.support.waiting import eventually

__all__ = ()

# What the sums count for a stream besides its bytes: while it grows, when it has blocks too, and folded whole.
GROWING, FOLDING, SHARE = 6_656, 11_264, 2_048
MIB = 2**20


def settings(**values: Any) -> Settings:
    return Settings.model_construct(**Settings.model_construct().model_dump() | {"buckets": 16} | values)


def budget(store: Store, **values: Any) -> Budget:
    return Budget(store, settings(**values), Metrics.on(CollectorRegistry()))


async def finished(store: Store, text: str = "", **options: Any) -> str:
    """The id of a stream that is over, of about `len(text)` bytes."""
    stream_id = await begin(store, **options)
    tail = await write(store, stream_id, *([text] if text else []))
    await end(store, stream_id, tail=tail)
    return stream_id


async def touched(store: Store, stream_id: str) -> None:
    """Read a stream, in a later millisecond than whatever was done before."""
    before = (await store.eviction_candidates(limit=1000))[-1]

    async def is_last() -> bool:
        await store.touch(stream_id)
        newest = (await store.eviction_candidates(limit=1000))[-1]
        return newest.id == stream_id and (newest.touched_ms > before.touched_ms or before.id == stream_id)

    await eventually(is_last)


async def test_the_least_recently_read_go_first_and_a_live_one_never(any_store: Store) -> None:
    live = await begin(any_store)
    await write(any_store, live, "l" * 30_000)
    old, read, new = [await finished(any_store, "x" * 20_000) for _ in range(3)]
    for stream_id in (old, new, read):
        await touched(any_store, stream_id)
    await budget(any_store, max_total_bytes=105_000).relieve()
    there = [stream_id for stream_id in (live, old, new, read) if await any_store.meta(stream_id)]
    assert there == [live, read]
    assert (await any_store.usage()).evicted == 2
    for stream_id in (old, new):
        tombstone = await any_store.tombstone(stream_id)
        assert tombstone is not None
        assert not tombstone.deleted
        assert tombstone.gone_ms


async def test_evicting_stops_when_enough_is_free(any_store: Store) -> None:
    for _ in range(10):
        await finished(any_store, "x" * 10_000)
    each = (await any_store.usage()).bytes // 10
    await budget(any_store, max_total_bytes=11 * each).relieve()
    assert (await any_store.usage()).evicted == 2, "from 10/11 of the budget down to 8.8/11"


async def test_below_the_soft_mark_nobody_goes(any_store: Store) -> None:
    await finished(any_store, "x" * 10_000)
    held = (await any_store.usage()).bytes
    await budget(any_store, max_total_bytes=held * 2).relieve()
    assert (await any_store.usage()).evicted == 0


async def test_only_the_streams_of_a_tenant_that_is_over_its_budget_go(any_store: Store) -> None:
    theirs = [await finished(any_store, "x" * 10_000, tenant="greedy") for _ in range(3)]
    mine = await finished(any_store, "x" * 10_000)
    for stream_id in theirs:  # streams that ended in one millisecond go in any order
        await touched(any_store, stream_id)
    await budget(any_store, max_tenant_bytes=30_000).look()
    there = [stream_id for stream_id in (*theirs, mine) if await any_store.meta(stream_id)]
    assert there == [theirs[2], mine]
    tenants = await any_store.tenants()
    assert tenants.keys() == {"greedy", "acme"}
    assert await any_store.tenant_bytes("greedy") == tenants["greedy"] <= 30_000


async def test_a_finished_stream_is_folded_after_a_while_and_then_expires(any_store: Store) -> None:
    stream_id = await begin(any_store)
    short = replace(RETENTION, retain_ms=1_500)
    await append(any_store, stream_id, [*texts("one", "two"), events.done("stop")], retention=short)
    keeper = budget(any_store, fold_after_s=0.001, tombstone_s=60)

    async def is_folded() -> bool:
        await keeper.tidy()
        meta = await any_store.meta(stream_id)
        return meta is not None and meta.folded == 6

    await eventually(is_folded)

    async def is_gone() -> bool:
        await keeper.tidy()
        return await any_store.meta(stream_id) is None

    await eventually(is_gone, within_s=10)
    usage = await any_store.usage()
    assert (usage.bytes, usage.blocks, usage.expired, usage.evicted) == (0, 0, 1, 0)
    assert await any_store.tombstone(stream_id) is not None
    assert await any_store.maintenance_due(quiet_ms=0, limit=10) == []


async def test_a_stream_that_was_just_over_is_left_alone(any_store: Store) -> None:
    stream_id = await finished(any_store, "x")
    await budget(any_store, fold_after_s=60).tidy()
    meta = await any_store.meta(stream_id)
    assert meta is not None
    assert meta.folded == 0


async def test_many_that_end_at_once_are_all_folded(any_store: Store) -> None:
    ids = [await finished(any_store, "word") for _ in range(60)]
    keeper = budget(any_store, fold_after_s=0.001)

    async def are_folded() -> bool:
        await keeper.tidy()
        metas = [await any_store.meta(stream_id) for stream_id in ids]
        return all(meta is not None and meta.folded == 4 for meta in metas)

    await eventually(are_folded)


async def test_eviction_looks_again(any_store: Store) -> None:
    live, over = await begin(any_store), await finished(any_store, "x")
    replies = await any_store.evict([live, over, "07" + "f" * 30], why="expired", tombstone_ms=0)
    assert replies == [Live(), Live(), Gone()], "one is being written, the other's time is not up"
    replies = await any_store.evict([live, over], why="evicted", tombstone_ms=0)
    assert isinstance(replies[1], Evicted)
    assert replies[0] == Live()
    assert await any_store.tombstone(over) is None


async def test_every_way_to_go_leaves_no_bytes_behind(any_store: Store) -> None:
    deleted, evicted, restarted = await begin(any_store), await finished(any_store, "x" * 100), await begin(any_store)
    for stream_id in (deleted, restarted):
        await write(any_store, stream_id, "y" * 100)
    await any_store.release(restarted, nonce(1))
    await claim(any_store, restarted, 2)
    held = await any_store.usage()
    assert held.bytes >= 3 * GROWING + 2 * len(REQUEST)
    assert held.requests == 2 * len(REQUEST)
    await any_store.delete(deleted, RETENTION)
    await any_store.delete(restarted, RETENTION)
    await any_store.evict([evicted], why="evicted", tombstone_ms=0)
    left = await any_store.usage()
    assert (left.bytes, left.blocks, left.requests) == (0, 0, 0)
    assert await any_store.tenants() == {}


async def test_a_large_request_is_counted_as_what_redis_takes_for_it(any_store: Store) -> None:
    sizes = [4_095, 4_096, 100_000, MIB]
    ids = [await create(any_store, request=b"x" * size) for size in sizes]
    metas = [await any_store.meta(stream_id) for stream_id in ids]
    assert [meta.bytes - 2 for meta in metas if meta] == [4_095, 5_120, 114_688, 1_310_720]
    held = await any_store.usage()
    assert (held.bytes, held.requests) == (1_434_623 + 4 * (GROWING + 2), 1_434_623)
    for stream_id in ids:
        await claim(any_store, stream_id)
        await any_store.release(stream_id, nonce(1))
        await claim(any_store, stream_id, 2)
    assert await any_store.usage() == held
    await append(any_store, ids[2], [events.done("stop")], number=2)
    assert (await any_store.usage()).requests == 1_434_623 - 114_688
    for stream_id in ids:
        await any_store.delete(stream_id, RETENTION)
    left = await any_store.usage()
    assert (left.bytes, left.blocks, left.requests) == (0, 0, 0)


@pytest.mark.parametrize("size", [5_000, 40_000, 150_000, MIB])
async def test_what_is_counted_for_a_request_is_what_redis_takes(store: RedisStore, size: int) -> None:
    stream_id = await create(store, request=b"x" * size)
    counted = (await store.usage()).requests
    real = await store.client.memory_usage(store.keys.request(stream_id))
    assert counted <= real < counted + 200, "its name comes on top, and is in the share of the stream"


async def test_sums_lag_behind_a_live_stream_by_little(any_store: Store) -> None:
    stream_id, tail = await begin(any_store), 0
    for _ in range(20):
        tail = await write(any_store, stream_id, "x" * 3_000, tail=tail)
        meta = await any_store.meta(stream_id)
        assert meta is not None
        assert 0 <= meta.bytes + GROWING - (await any_store.usage()).bytes < 16_384


async def test_a_recount_finds_what_redis_expired_by_itself(store: RedisStore) -> None:
    kept, lost = [await finished(store, "x" * 100, stream_id=f"07{number:030x}") for number in range(2)]
    meta = await store.meta(kept)
    assert meta is not None
    await store.client.delete(*store.keys.of_stream(lost)[:5])
    drifted = (await store.usage()).bytes
    assert await store.recount("07", limit=1) is None
    assert await store.recount("07", limit=10) == Recount(drifted // 2, 1, drifted // 2)
    assert (await store.usage()).bytes == meta.bytes + GROWING == await store.tenant_bytes("acme")
    assert (await store.usage()).largest == meta.bytes + GROWING
    assert [each.id for each in await store.eviction_candidates(limit=10)] == [kept]
    assert await store.recount("07", limit=10) == Recount(0, 1, drifted // 2)


async def test_a_recount_mends_all_sums_that_two_versions_count_differently(store: RedisStore) -> None:
    """One that counted large requests exactly took off less than another had put on, and the rest stayed for ever."""
    bucket = "07"
    live = await create(store, stream_id=f"{bucket}{1:030x}", request=b"r" * 5_000)
    folded = await finished(store, "x" * 9_000, stream_id=f"{bucket}{2:030x}")
    await store.compact([Compact(folded, "", MIB, 50 * MIB)])
    before = await store.usage()
    assert before.requests > 5_000
    assert before.blocks > 9_000
    for field, drift in (("requests", 120), ("blocks", -700), ("bytes", 33)):
        await cast("Any", store.client).hincrby(store.keys.usage(bucket), field, drift)
    found = await store.recount(bucket, limit=10)
    assert found is not None
    assert found.drift == 33
    assert replace(await store.usage(), largest=before.largest) == before
    await store.delete(live, RETENTION)
    await store.delete(folded, RETENTION)
    after = await store.usage()
    assert (after.requests, after.blocks, after.bytes) == (0, 0, 0)


async def test_the_share_of_a_stream_follows_its_folds(any_store: Store) -> None:
    async def share() -> int:
        meta = await any_store.meta(stream_id)
        assert meta is not None
        await any_store.heartbeat([LeaseRenewal(stream_id, meta.nonce, 60_000)], RETENTION)
        assert (await any_store.recount(stream_id[:2], limit=10)) == Recount(0, 1, (await any_store.usage()).bytes)
        assert [each.bytes for each in await any_store.eviction_candidates(limit=10)] == [
            (await any_store.usage()).bytes
        ]
        return (await any_store.usage()).bytes - meta.bytes

    stream_id = await begin(any_store)
    assert await share() == GROWING
    for number in (1, 2):
        tail = await write(any_store, stream_id, *(["x" * 1_000] * 4), number=number)
        await any_store.compact([Compact(stream_id, nonce(number), MIB, 50 * MIB)])
        assert await share() == FOLDING
        if number == 1:
            await any_store.release(stream_id, nonce(1))
            await claim(any_store, stream_id, 2)
            assert await share() == GROWING, "a new start has no blocks"
    await append(any_store, stream_id, [events.done("stop")], tail=tail, number=2)
    assert await share() == FOLDING
    await any_store.compact([Compact(stream_id, "", MIB, 50 * MIB)])
    assert await share() == SHARE
    assert isinstance((await any_store.evict([stream_id], why="evicted", tombstone_ms=0))[0], Evicted)
    assert (await any_store.usage()).bytes == 0


@pytest.mark.parametrize(
    ("streams", "length", "piece"),
    [(40, 2_500, 5), (40, 3_500, 20), (160, 3_500, 200), (160, 12_000, 200), (40, 40_000, 200)],
)
async def test_what_is_counted_for_streams_that_are_folded_while_they_grow(
    streams: int, length: int, piece: int
) -> None:
    """Nodes that have room to grow and what is in no key, the tables of keys for one, are in `used_memory` only."""
    with running_redis("redis7") as server:
        async with opened_author(server.url) as author, Redis.from_url(server.url) as redis:
            await author.end(await author.begin())
            before = await used_and_counted(author, redis)
            writers = [await author.begin() for _ in range(streams)]
            for _ in range(0, length, piece):
                await asyncio.gather(*(author.say(writer, "x" * piece) for writer in writers))
            await author.store.heartbeat([LeaseRenewal(each.id, each.nonce, 60_000) for each in writers], RETENTION)
            live = await used_and_counted(author, redis)
            await asyncio.gather(*(author.end(writer) for writer in writers))
            ended = await used_and_counted(author, redis)
    for used, counted in (live, ended):
        assert 0.5 < (used - before[0]) / (counted - before[1]) < 1.1


async def used_and_counted(author: Author, redis: Redis) -> tuple[int, int]:
    """Without the buffers of connections, which hold up to 200 KB for a moment, however few the streams."""
    memory = await redis.info("memory")
    return memory["used_memory"] - memory["mem_clients_normal"], (await author.store.usage()).bytes


async def test_what_is_counted_is_near_what_redis_takes(store: RedisStore) -> None:
    for _ in range(20):
        await finished(store, "tokn " * 500)
    counted = (await store.usage()).bytes
    ids = [each.id for each in await store.eviction_candidates(limit=20)]
    real = sum([await store.footprint(stream_id) for stream_id in ids])
    assert 0.5 * counted < real < 1.1 * counted
    keeper = budget(store)
    await keeper.look()


@pytest.mark.parametrize(
    ("used", "maxmemory", "expected"),
    [(30, 0, 100), (30, 1000, 100), (30, 80, 70), (30, 15, 5), (30, 5, 0)],
    ids=["no maxmemory", "plenty", "less than the budget", "little", "none"],
)
def test_the_limit_is_what_redis_can_give(used: int, maxmemory: int, expected: int) -> None:
    found = limit_bytes(settings(max_total_bytes=100), ByteSums(bytes=20), Server(used, maxmemory, "noeviction"))
    assert found == expected


def test_tombstones_stand_less_long_when_streams_come_fast_and_never_take_more_than_a_tenth() -> None:
    values, churn = settings(max_total_bytes=MIB, tombstone_s=86_400), TombstoneAccounting()
    assert churn.tombstone_ms(values) == 86_400_000
    churn.note(0, ByteSums())
    churn.note(100, ByteSums(created=10, evicted=2))
    assert churn.tombstone_ms(values) == pytest.approx(4_096_000, rel=0.01)
    assert churn.tombstone_bytes(values) == 2 * 256
    plenty = settings(max_total_bytes=10_000 * MIB)
    assert churn.tombstone_ms(plenty) == plenty.retention.tombstone_ms
    churn.note(200, ByteSums(created=10_000, evicted=9_000))
    assert churn.tombstone_bytes(values) == pytest.approx(MIB / 10, rel=0.01)


async def test_tombstones_of_deleted_streams_are_bounded(store: RedisStore) -> None:
    """Nothing else bounds what somebody leaves who creates and deletes all the time."""
    day = replace(RETENTION, tombstone_ms=86_400_000)
    standing = []
    for number in range(200):
        stream_id = await create(store, stream_id=f"07{number:030x}")
        await store.delete(stream_id, day)
        standing.append(round(await store.client.pttl(store.keys.tombstone(stream_id)) / 1000))
    assert standing[:7] == pytest.approx([86_400] * 7, rel=0.01)
    assert standing[-1] == pytest.approx(1024 * 600 / 200, rel=0.01)
    assert all(later <= earlier + 0.1 for earlier, later in pairwise(standing))


async def admit(admission: Admission, tenant: str, request_bytes: int) -> None:
    """Let in what then is not created."""
    async with admission.admitted(tenant, request_bytes):
        pass


async def test_admission_counts_what_it_let_in(any_store: Store) -> None:
    await create(any_store)
    held = (await any_store.usage()).bytes
    admission = Admission(any_store, settings(max_total_bytes=round((held + 3 * (GROWING + 100)) / 0.9) + 1))
    async with AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(admission.admitted("acme", 100))
        with pytest.raises(MemoryPressure) as refused:
            await admit(admission, "acme", 100)
    assert refused.value.retry_after_s is not None
    assert 1 <= refused.value.retry_after_s <= 3


async def test_admission_counts_what_others_let_in(any_store: Store) -> None:
    """Edges that are asked in turns, in no time: none has let in more than it sees before it looks again."""
    edges = [Admission(any_store, settings(max_total_bytes=round(10 * GROWING / 0.9))) for _ in range(4)]
    refused = 0
    for edge in (*edges, *edges, *edges, *edges):
        try:
            async with edge.admitted("acme", len(REQUEST)):
                await create(any_store)
        except MemoryPressure:
            refused += 1
    assert 6 <= refused <= 6 + len(edges)


async def test_admission_leaves_room_for_tombstones(any_store: Store) -> None:
    """Forty are 10 KB that no sum knows of; without them the same create is let in."""
    admission = Admission(any_store, settings(max_total_bytes=200_000, tombstone_s=86_400))
    await admit(admission, "acme", 163_000)
    gone = [await finished(any_store) for _ in range(40)]
    await any_store.evict(gone, why="evicted", tombstone_ms=86_400_000)

    async def is_refused() -> bool:
        try:
            await admit(admission, "acme", 163_000)
        except MemoryPressure:
            return (await any_store.usage()).bytes == 0 and f"<Admission {40 * 256} bytes" in repr(admission)
        return False

    await eventually(is_refused)


async def test_admission_of_a_tenant(any_store: Store) -> None:
    admission = Admission(any_store, settings(max_tenant_bytes=round(2 * GROWING / 0.9)))
    await admit(admission, "one", 100)
    with pytest.raises(MemoryPressure):
        await admit(admission, "one", 100 + GROWING)
    await admit(admission, "two", 100)
