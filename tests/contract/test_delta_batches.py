"""Appends that share a call of Redis: the same answers, logs and sums as of appends one by one."""

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import pytest
from redis.asyncio import Redis

from shared.errors import StoreError, StoreFull, StoreReadOnly
from shared.log import events
from shared.log.events import Event
from shared.store.calls import Append, Claim, Retention
from shared.store.memory.store import MemoryStore
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from shared.store.replies import Appended, AppendReply
from shared.store.store import Store
from tests.conftest import own_keyspace, remove_keys
from tests.support.streams import OVER_MS, RETENTION, append, begin, log, new_stream, nonce, texts

__all__ = ()

# Two of them share a bucket, and its sums. The last is never created.
PLACES = [place + 29 * "0" for place in ("07a", "07b", "08c", "09d", "0ae")]
NOBODY = PLACES[-1]
ONE_HOUR = Retention(live_ms=3_600_000, retain_ms=3_600_000, tombstone_ms=3_600_000)
TEXTS = ["a", "né€", "\r\n", "x" * 300, "y" * 2048, "z" * 2049]
OTHERS = [
    [],
    [*texts("a", "b")],
    [events.usage({"output_tokens": 3})],
    [events.tool_call(0, "{", call_id="c", name="f")],
    [Event("text", b"wrong", 1)],
    [Event("song", b"x", 1)],
]
TURNS = ["", "", "", "cancel", "take over", "end", "delete"]


@dataclass(frozen=True)
class Planned:
    """An append, relative to where its stream will be."""

    place: str
    new: list[Event]
    off: int
    number: int
    is_safe: bool
    is_noted: bool


def planned(rng: random.Random) -> Planned:
    def rarely() -> bool:
        return rng.random() < 0.04

    kind = rng.choice(["text", "text", "reasoning", "refusal"])
    new = rng.choice(OTHERS) if rarely() else [events.delta(kind, rng.choice(TEXTS))]
    off, number = rng.choice([-1, 1]) if rarely() else 0, rng.choice([2, 7]) if rarely() else 1
    place = NOBODY if rarely() else rng.choice(PLACES[:-1])
    return Planned(place, new, off, number, is_safe=not rarely(), is_noted=rarely())


def calls_of(plans: Sequence[Planned], tails: dict[str, int]) -> list[Append]:
    """The appends of a batch, each at the tail that those before it lead to."""
    calls = []
    for plan in plans:
        tail = tails[plan.place]
        end = tail + sum(event.size for event in plan.new)
        updates = {"provider": "p"} if plan.is_noted else {}
        safe = end if plan.is_safe else tail
        calls.append(Append(plan.place, nonce(plan.number), max(tail + plan.off, 0), plan.new, safe, updates))
        if plan.off == 0:
            tails[plan.place] = end
    return calls


async def turn(store: Store, what: str, place: str) -> None:
    if what == "cancel":
        await store.cancel(place, attempt=None, nonce=nonce(9), retention=ONE_HOUR)
    elif what == "take over":
        await store.release(place, nonce(1))
        await store.claim(place, Claim(nonce(2), worker="w", lease_ms=OVER_MS, mode="continue"), ONE_HOUR)
    elif what == "end":
        meta = await store.meta(place)
        await append(store, place, [events.done("stop")], tail=meta.tail if meta else 0, retention=ONE_HOUR)
    elif what == "delete":
        await store.delete(place, ONE_HOUR)


def told(reply: AppendReply | Exception) -> object:
    if isinstance(reply, Appended):
        return reply.tail, reply.cancelling
    return (type(reply), str(reply).split(",")[0][:30]) if isinstance(reply, Exception) else reply


async def state_of(store: Store) -> object:
    state: list[object] = [await store.usage()]
    for place in PLACES:
        meta = await store.meta(place)
        fields = {} if meta is None else asdict(meta)
        timeless = {name: bool(value) if name.endswith("_ms") else value for name, value in fields.items()}
        state.append((timeless, await log(store, place) if meta is not None else None))
    return state


@asynccontextmanager
async def on_redis(url: str) -> AsyncIterator[RedisStore]:
    store = RedisStore(open_client(url), own_keyspace())
    try:
        yield store
    finally:
        await store.aclose()
        await remove_keys(url, store.keys)


@pytest.mark.parametrize("seed", range(30))
async def test_a_batch_does_what_its_appends_do_one_by_one(redis_url: str, seed: int) -> None:
    rng = random.Random(seed)
    async with on_redis(redis_url) as batched, on_redis(redis_url) as single:
        stores: list[Store] = [batched, single, MemoryStore()]
        for store in stores:
            for place in PLACES[:-1]:
                await store.create(new_stream(place), ONE_HOUR)
                await store.claim(place, Claim(nonce(1), worker="w", lease_ms=3_600_000), ONE_HOUR)
        for _ in range(12):
            plans, what, at = (
                [planned(rng) for _ in range(rng.randrange(30))],
                rng.choice(TURNS),
                rng.choice(PLACES[:-1]),
            )
            metas = {place: await single.meta(place) for place in PLACES}
            calls = calls_of(plans, {place: meta.tail if meta else 0 for place, meta in metas.items()})
            at_once = list(await batched.append(calls, ONE_HOUR))
            for store in stores[1:]:
                one_by_one = [reply for call in calls for reply in await store.append([call], ONE_HOUR)]
                assert list(map(told, at_once)) == list(map(told, one_by_one))
                for known, other in zip(at_once, one_by_one, strict=True):
                    if isinstance(known, Appended) and isinstance(other, Appended) and known.bytes is not None:
                        assert (known.bytes, known.unfolded) == (other.bytes, other.unfolded)
            for store in stores:
                await turn(store, what, at)
        states = [await state_of(store) for store in stores]
        assert states[0] == states[1]
        assert states[0] == states[2]


async def command(store: RedisStore, *words: str | int) -> Any:
    """An operator's command, over a connection that takes a replica for an answer too."""
    place = store.client.connection_pool.connection_kwargs
    async with Redis(host=place["host"], port=place["port"]) as operator:
        return await operator.execute_command(*words)  # type: ignore[no-untyped-call]


async def two_kinds_of_calls(store: RedisStore) -> list[Append]:
    """A batch of shared calls with an append to itself in its middle."""
    streams = [await begin(store) for _ in range(7)]
    calls = [Append(each, nonce(1), 0, texts("one"), 3) for each in streams]
    calls[3] = Append(streams[3], nonce(1), 0, [*texts("one"), events.usage({})], 4)
    return calls


@pytest.mark.parametrize(
    ("break_it", "mend_it", "error"),
    [
        (("CONFIG", "SET", "maxmemory", 1), ("CONFIG", "SET", "maxmemory", 0), StoreFull),
        (("REPLICAOF", "127.0.0.1", 1), ("REPLICAOF", "NO", "ONE"), StoreReadOnly),
    ],
)
async def test_a_server_that_takes_no_writes_refuses_each_append(
    own_store: RedisStore, break_it: Sequence[Any], mend_it: Sequence[Any], error: type[StoreError]
) -> None:
    calls = await two_kinds_of_calls(own_store)
    await append(own_store, await begin(own_store), texts("x"))
    before = [await log(own_store, call.id) for call in calls]
    await command(own_store, *break_it)
    assert [type(reply) for reply in await own_store.append(calls, RETENTION)] == [error] * len(calls)
    await command(own_store, *mend_it)
    assert [await log(own_store, call.id) for call in calls] == before
    replies = await own_store.append(calls, RETENTION)
    assert [isinstance(reply, Appended) for reply in replies] == [True] * len(calls)


async def test_a_batch_brings_its_library_along(own_store: RedisStore) -> None:
    calls = await two_kinds_of_calls(own_store)
    await command(own_store, "FUNCTION", "FLUSH")
    replies = await own_store.append(calls, RETENTION)
    assert [reply.tail for reply in replies if isinstance(reply, Appended)] == [3, 3, 3, 4, 3, 3, 3]
    for call in calls:
        assert [entry.event for entry in await log(own_store, call.id)][-len(call.events) :] == list(call.events)
