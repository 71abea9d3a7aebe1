"""Compaction loses nothing and no cursor: random answers, folded at random points, read from everywhere."""

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.log import events
from shared.log.events import Event
from shared.log.lineage import Lineage
from shared.log.position import EventId, Position
from shared.store.calls import Compact
from shared.store.memory.store import MemoryStore
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from shared.store.replies import Compacted
from shared.store.store import Store
from tests.conftest import own_keyspace, remove_keys
from tests.memory.told import spoken, tell, units
from tests.support.redis_server import ServerKind
from tests.support.streams import append, begin, claim, nonce

__all__ = ()

MOST_CURSORS = 12

letters = st.text('ab/\\"é漢😀\n\x00\x7f\u2028', min_size=1, max_size=6)
deltas = st.builds(events.delta, st.sampled_from(["text", "text", "text", "reasoning", "refusal"]), letters)
calls = st.one_of(
    st.builds(events.tool_call, st.integers(0, 1), letters),
    st.builds(events.tool_call, st.integers(0, 1), letters, call_id=letters, name=st.just("f/n")),
)
others = st.builds(events.usage, st.dictionaries(st.sampled_from(["a", "b"]), st.integers(0, 9), max_size=2))
batches = st.lists(st.lists(st.one_of(deltas, deltas, calls, others), min_size=1, max_size=6), max_size=8)
# After each batch: how many of its events are not safe yet, the size of blocks, and whether to fold at all.
folds = st.lists(st.tuples(st.integers(0, 3), st.sampled_from([90, 150, 300, 100_000]), st.booleans()), min_size=9)


@pytest.fixture(params=["memory", "redis7", "valkey9"])
def run_on(request: pytest.FixtureRequest, server_url: Callable[[ServerKind], str]) -> Callable[..., None]:
    """Runs a coroutine function with an empty store of each kind."""
    kind: str = request.param

    def run(scene: Callable[..., object], *arguments: object) -> None:
        async def on_store() -> None:
            if kind == "memory":
                await scene(MemoryStore(), *arguments)  # type: ignore[misc]
                return
            url, keyspace = server_url(cast("ServerKind", kind)), own_keyspace()
            store = RedisStore(open_client(url), keyspace)
            try:
                await scene(store, *arguments)  # type: ignore[misc]
            finally:
                await store.aclose()
                await remove_keys(url, keyspace)

        asyncio.run(on_store())

    return run


async def fold(store: Store, stream_id: str, *, number: int, block_bytes: int) -> None:
    reply = (await store.compact([Compact(stream_id, nonce(number), block_bytes=block_bytes)]))[0]
    assert isinstance(reply, Compacted)


async def fold_whole(store: Store, stream_id: str, *, block_bytes: int) -> Compacted:
    while True:
        reply = (await store.compact([Compact(stream_id, block_bytes=block_bytes)]))[0]
        assert isinstance(reply, Compacted)
        if not reply.more:
            return reply


async def everywhere(store: Store, stream_id: str, said: Sequence[Event], *, limit: int) -> None:
    """From every character of a short log, from some of a longer one."""
    meta = await store.meta(stream_id)
    assert meta is not None
    offsets = cuts(said)
    for offset in offsets[:: 1 + len(offsets) // MOST_CURSORS]:
        cursor = meta.lineage.event_id(offset)
        told = await tell(store, stream_id, cursor, limit=limit)
        assert told.pieces == spoken(said, after=offset), f"from {cursor}"
        assert not told.gaps


def cuts(said: Sequence[Event]) -> list[int]:
    """Offsets that are not inside a character."""
    found, offset = [0], 0
    for event in said:
        text = event.value.decode() if event.kind in events.DELTA_KINDS else ""
        if event.kind == "tool_call":
            opening = event.size - len(event.fields()["arguments_delta"].encode())
            found += [offset + opening]
            offset += opening
            text = event.fields()["arguments_delta"]
        for character in text:
            offset += len(character.encode())
            found.append(offset)
        if not text and event.kind != "tool_call":
            offset += event.size
            found.append(offset)
    return sorted(set(found))


async def live_then_finished(
    store: Store, batches: list[list[Event]], folds: list[tuple[int, int, bool]], limit: int
) -> None:
    stream_id = await begin(store)
    said: list[Event] = []
    tail = safe = 0
    for batch, (unsafe, block_bytes, is_folded) in zip(batches, folds, strict=False):
        safe = max(safe, tail + units(batch[: max(0, len(batch) - unsafe)]))
        await append(store, stream_id, batch, tail=tail, safe=safe)
        said += batch
        tail += units(batch)
        if is_folded:
            await fold(store, stream_id, number=1, block_bytes=block_bytes)
            assert (await tell(store, stream_id, limit=limit)).pieces == spoken(said)
    await everywhere(store, stream_id, said, limit=limit)
    ending = events.done("stop")
    await append(store, stream_id, [ending], tail=tail)
    said.append(ending)
    before = await tell(store, stream_id, limit=limit)
    await fold_whole(store, stream_id, block_bytes=folds[-1][1])
    after = await tell(store, stream_id, limit=limit)
    assert after.pieces == before.pieces == spoken(said)
    assert after.cursor == before.cursor
    await everywhere(store, stream_id, said, limit=limit)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(batches=batches, folds=folds, limit=st.integers(4, 9))
def test_what_a_reader_assembles_is_the_same_with_and_without_folds(
    run_on: Callable[..., None], batches: list[list[Event]], folds: list[tuple[int, int, bool]], limit: int
) -> None:
    run_on(live_then_finished, batches, folds, limit)


async def taken_over(store: Store, first: list[Event], second: list[Event], mode: str, block_bytes: int) -> None:
    stream_id = await begin(store, lease_ms=-1)
    await append(store, stream_id, first, safe=units(first[:-1]))
    await fold(store, stream_id, number=1, block_bytes=block_bytes)
    await claim(store, stream_id, 2, mode=mode)
    kept = first[:-1] if mode == "continue" else []
    await append(store, stream_id, second, number=2, tail=units(kept))
    await fold(store, stream_id, number=2, block_bytes=block_bytes)
    said = [*kept, *second]
    assert (await tell(store, stream_id)).pieces == spoken(said)
    # What the first attempt gave out is a cursor to the same place.
    for offset in cuts(kept)[-MOST_CURSORS:]:
        told = await tell(store, stream_id, EventId(Position(1, offset), nonce(1)))
        assert told.pieces == spoken(said, after=offset)
    await append(store, stream_id, [events.CANCELLED], number=2, tail=units(said))
    await fold_whole(store, stream_id, block_bytes=block_bytes)
    await everywhere(store, stream_id, [*said, events.CANCELLED], limit=4)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    first=st.lists(deltas, min_size=1, max_size=8),
    second=st.lists(st.one_of(deltas, calls), min_size=1, max_size=8),
    mode=st.sampled_from(["continue", "restart"]),
    block_bytes=st.sampled_from([90, 100_000]),
)
def test_a_fence_never_meets_a_block(
    run_on: Callable[..., None], first: list[Event], second: list[Event], mode: str, block_bytes: int
) -> None:
    run_on(taken_over, first, second, mode, block_bytes)


def test_what_is_spoken_is_found_different_when_it_is() -> None:
    """The oracle itself can fail."""
    said = [events.delta("text", "ab"), events.delta("text", "c"), events.tool_call(0, "x", call_id="i", name="f")]
    assert spoken(said) == [("text", 0, "abc"), ("tool_call", 0, "<i|f>x")]
    assert spoken(said, after=1) == [("text", 0, "bc"), ("tool_call", 0, "<i|f>x")]
    assert spoken(said, after=4) == [("tool_call", 0, "x")]
    assert spoken(said[1:]) != spoken(said)
    assert Lineage((), 0).event_id(0).nonce is None
