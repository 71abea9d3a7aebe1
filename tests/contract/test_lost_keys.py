"""A stream that lost a key, or one after the other, with a beat, an append or a fold in between, is gone for good."""

import itertools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, cast

import pytest

from shared.log import events
from shared.log.position import START
from shared.store.calls import Compact, LeaseRenewal
from shared.store.memory.store import MemoryStore
from shared.store.redis.store import RedisStore
from shared.store.replies import Compacted, Gone
from shared.store.store import Store
from tests.support.streams import RETENTION, append, begin, claim, create, nonce, texts, write
from tests.support.waiting import eventually

__all__ = ()

KEYS: Final = ("stream", "blocks", "meta", "request")
# Every way for one key to go, or two, one after the other.
LOSSES: Final[list[tuple[str, ...]]] = [(key,) for key in KEYS] + list(itertools.permutations(KEYS, 2))
Deed = Callable[[Store, str], Awaitable[Any]]


async def nothing(store: Store, stream_id: str) -> None:
    """What else happens between two losses."""


async def beat(store: Store, stream_id: str) -> Any:
    (reply,) = await store.heartbeat([LeaseRenewal(stream_id, nonce(1), 60_000)], RETENTION)
    return reply


async def write_on(store: Store, stream_id: str) -> Any:
    meta = await store.meta(stream_id)
    return await append(store, stream_id, texts("more"), tail=meta.tail if meta else 0)


async def fold(store: Store, stream_id: str) -> Any:
    (reply,) = await store.compact([Compact(stream_id, nonce(1), block_bytes=4096, max_bytes=1_000_000)])
    return reply


async def take_over(store: Store, stream_id: str) -> Any:
    return await claim(store, stream_id, 2, mode="continue", holder=nonce(1))


async def stop(store: Store, stream_id: str) -> Any:
    return await store.cancel(stream_id, attempt=None, nonce=nonce(3), retention=RETENTION)


async def end_unowned(store: Store, stream_id: str) -> Any:
    return await store.finish(stream_id, events.CANCELLED, nonce=nonce(4), retention=RETENTION)


async def touch(store: Store, stream_id: str) -> Any:
    await store.touch(stream_id)


async def release(store: Store, stream_id: str) -> Any:
    return await store.release(stream_id, nonce(1))


async def remove(store: Store, stream_id: str) -> Any:
    return await store.delete(stream_id, RETENTION)


BETWEEN: Final[Sequence[Deed]] = (nothing, beat, write_on, fold)
AFTER: Final[Sequence[Deed]] = (write_on, fold, touch, beat, release, take_over, stop, end_unowned, remove)


async def half_folded(store: Store) -> str:
    """A live stream that has every key there is."""
    stream_id = await begin(store)
    await write(store, stream_id, "one ", "two ", "three ")
    assert isinstance(await fold(store, stream_id), Compacted)
    await write(store, stream_id, "four ", tail=14)
    return stream_id


async def lose(store: Store, stream_id: str, key: str) -> None:
    """By DEL: for whoever comes afterwards an expiry is the same."""
    if isinstance(store, RedisStore):
        await store.client.delete(getattr(store.keys, key)(stream_id))
    else:
        cast("MemoryStore", store).lose_key(stream_id, key)


async def lives(store: Store, stream_id: str) -> Mapping[str, int]:
    """When the keys that a function is given expire, in ms, -1 for never; without those that are not there."""
    if not isinstance(store, RedisStore):
        return {}
    names = store.keys.of_stream(stream_id)
    async with store.client.pipeline(transaction=False) as pipe:
        for name in names:
            cast("Any", pipe).pexpiretime(name)
        found = dict(zip(names, await pipe.execute(), strict=True))
    return {name: at for name, at in found.items() if at != -2}


def own(found: Mapping[str, int], stream_id: str) -> Mapping[str, int]:
    return {key: at for key, at in found.items() if key.endswith(stream_id) and ":tombstone:" not in key}


@pytest.mark.parametrize("losses", LOSSES, ids="+".join)
async def test_no_key_comes_back_or_lives_for_ever(any_store: Store, losses: tuple[str, ...]) -> None:
    """Whatever happens between the losses and after them."""
    for between, after in itertools.product(BETWEEN, AFTER):
        stream_id = await half_folded(any_store)
        for key in losses:
            await lose(any_store, stream_id, key)
            await nothing_grows(any_store, stream_id, between)
        await nothing_grows(any_store, stream_id, after)


async def nothing_grows(store: Store, stream_id: str, deed: Deed) -> None:
    left = own(await lives(store, stream_id), stream_id)
    await deed(store, stream_id)
    found = await lives(store, stream_id)
    assert [key for key, at in found.items() if at == -1] == [], deed.__name__
    assert own(found, stream_id).keys() <= left.keys(), deed.__name__


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("deed", [beat, fold, take_over, stop, end_unowned, write_on], ids=lambda deed: deed.__name__)
async def test_who_needs_a_lost_key_is_told_that_the_stream_is_gone(any_store: Store, key: str, deed: Deed) -> None:
    """The request is needed by the next writer alone, the blocks by everybody but the writer of the next event."""
    stream_id = await half_folded(any_store)
    await lose(any_store, stream_id, key)
    needs_it = deed is take_over or (key != "request" and (key, deed) != ("blocks", write_on))
    assert (await deed(any_store, stream_id) == Gone()) is needs_it


@pytest.mark.parametrize(
    ("key", "deed"),
    [*itertools.product(("stream", "blocks", "meta"), (beat, take_over)), ("request", take_over)],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_what_is_left_goes_too(any_store: Store, key: str, deed: Deed) -> None:
    """So that its readers are told: nobody could write such a stream on."""
    stream_id = await half_folded(any_store)
    await lose(any_store, stream_id, key)
    assert await deed(any_store, stream_id) == Gone()
    assert await any_store.present([stream_id]) == []
    assert await any_store.read(stream_id, START, limit=10) is None
    assert await any_store.meta(stream_id) is None
    assert own(await lives(any_store, stream_id), stream_id) == {}
    tombstone = await any_store.tombstone(stream_id)
    other = await any_store.meta(await create(any_store))
    assert tombstone is not None
    assert other is not None
    assert tombstone.gone_ms <= other.created_ms
    assert (await any_store.statistics())["live"] == 1


async def test_nothing_of_it_stays_in_the_sums(any_store: Store) -> None:
    """But for what lost its meta, which knew how much it was: the next recount finds that."""
    for key in ("stream", "blocks", "request"):
        stream_id = await half_folded(any_store)
        await lose(any_store, stream_id, key)
        assert await take_over(any_store, stream_id) == Gone()
    assert (await any_store.usage()).bytes == 0


async def test_a_beat_on_a_queued_stream_takes_nothing_away(any_store: Store) -> None:
    """It has no log yet, and lost none."""
    stream_id = await create(any_store)
    await beat(any_store, stream_id)
    assert await any_store.present([stream_id]) == [stream_id]


async def test_keys_that_expire_one_by_one(real_store: RedisStore) -> None:
    """A beat after the first PEXPIRE gives the log its whole life again; then meta goes, and the log alone is left.

    It lives no longer than it would have, nobody can lengthen that, and the next beat takes it away.
    """
    keys, client = real_store.keys, real_store.client
    stream_id = await half_folded(real_store)
    await client.pexpire(keys.stream(stream_id), 30_000)
    await beat(real_store, stream_id)
    await client.pexpire(keys.meta(stream_id), 1)

    async def is_gone() -> bool:
        return await real_store.meta(stream_id) is None

    await eventually(is_gone)
    headless = own(await lives(real_store, stream_id), stream_id)
    assert keys.stream(stream_id) in headless
    for deed in (write_on, fold, touch, release, stop, end_unowned, remove):
        await deed(real_store, stream_id)
        assert own(await lives(real_store, stream_id), stream_id) == headless, deed.__name__
    assert await beat(real_store, stream_id) == Gone()
    assert own(await lives(real_store, stream_id), stream_id) == {}


async def test_an_append_to_a_lost_log_is_told_so_wherever_it_is_safe(any_store: Store) -> None:
    """Its safe offset is that of an event, which cannot be found any more: that is no mistake of the caller's."""
    stream_id = await begin(any_store)
    await append(any_store, stream_id, texts("one ", "two "), safe=0)
    await lose(any_store, stream_id, "stream")
    assert await append(any_store, stream_id, texts("three"), tail=8, safe=4) == Gone()


@pytest.mark.parametrize("deed", ["append", "delete", "evict", "recount"])
async def test_sums_that_were_deleted_come_back_with_an_expiry(real_store: RedisStore, deed: str) -> None:
    stream_id = await begin(real_store)
    if deed == "evict":
        await append(real_store, stream_id, [events.done("stop")])
    sums = real_store.keys.usage(stream_id[:2])
    await real_store.client.delete(sums)
    if deed == "append":
        await write(real_store, stream_id, "x" * 20_000)
    elif deed == "delete":
        await remove(real_store, stream_id)
    elif deed == "evict":
        await real_store.evict([stream_id], why="evicted", tombstone_ms=0)
    else:
        await real_store.recount(stream_id[:2], limit=10)
    assert await real_store.client.pttl(sums) > 0
