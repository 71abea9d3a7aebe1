"""What a fold does to a log, rule by rule, on every store."""

import pytest

from shared.log import events
from shared.log.events import Event
from shared.log.position import START, Position
from shared.store.calls import Compact
from shared.store.redis.store import RedisStore
from shared.store.replies import Appended, Closed, Compacted, CompactReply, Fenced, Gone
from shared.store.state import Meta
from shared.store.store import Store
from tests.memory.told import spoken, tell
from tests.support.streams import OVER_MS, REQUEST, RETENTION, append, begin, claim, create, end, nonce, texts, write

__all__ = ()

ENTRY = 16
# The request and the metadata `{}` of a test's stream.
REST = len(REQUEST) + 2


async def fold(store: Store, stream_id: str, number: int | None = 1, **options: int) -> CompactReply:
    call = Compact(stream_id, "" if number is None else nonce(number), **options)
    (reply,) = await store.compact([call])
    assert not isinstance(reply, Exception)
    return reply


async def fold_whole(store: Store, stream_id: str, **options: int) -> Compacted:
    while True:
        reply = await fold(store, stream_id, None, **options)
        assert isinstance(reply, Compacted)
        if not reply.more:
            return reply


async def meta_of(store: Store, stream_id: str) -> Meta:
    meta = await store.meta(stream_id)
    assert meta is not None
    return meta


async def events_of(store: Store, stream_id: str) -> list[tuple[str, bytes]]:
    snapshot = await store.read(stream_id, START, limit=1000)
    assert snapshot is not None
    return [(entry.event.kind, entry.event.value) for entry in snapshot.entries if entry.event.kind != "fence"]


async def test_a_live_log_keeps_its_newest_entry(any_store: Store) -> None:
    stream_id = await begin(any_store)
    await write(any_store, stream_id, "one", " two", " three")
    block = 96  # 64 for itself, 16 for its part, 7 of text: in steps of a quarter of 64
    assert await fold(any_store, stream_id) == Compacted(7, 0, REST + block + ENTRY + 6, ENTRY + 6, more=False)
    assert await events_of(any_store, stream_id) == [("text", b"one two"), ("text", b" three")]
    assert (await meta_of(any_store, stream_id)).folded == 7


async def test_nothing_is_folded_beyond_the_safe_offset(any_store: Store) -> None:
    stream_id = await begin(any_store)
    await append(any_store, stream_id, texts("safe", "unsafe", "too"), safe=4)
    reply = await fold(any_store, stream_id)
    assert isinstance(reply, Compacted)
    assert (reply.folded, reply.more) == (4, False)
    again = await fold(any_store, stream_id)
    assert again == reply


async def test_an_append_says_what_is_unfolded(any_store: Store) -> None:
    stream_id = await begin(any_store)
    first = await append(any_store, stream_id, texts("one", "two"))
    assert isinstance(first, Appended)
    assert first.unfolded == 2 * (ENTRY + 3)
    await fold(any_store, stream_id)
    second = await append(any_store, stream_id, texts("three"), tail=6)
    assert isinstance(second, Appended)
    assert second.unfolded == ENTRY + 3 + ENTRY + 5


async def test_a_finished_log_is_folded_but_for_its_ending(any_store: Store) -> None:
    stream_id = await begin(any_store)
    tail = await write(any_store, stream_id, *(["word "] * 50))
    await end(any_store, stream_id, tail=tail)
    reply = await fold_whole(any_store, stream_id)
    assert (reply.folded, reply.unfolded) == (tail, ENTRY + len(b'{"finish_reason":"stop"}'))
    assert await events_of(any_store, stream_id) == [("text", b"word " * 50), ("done", b'{"finish_reason":"stop"}')]
    assert await fold(any_store, stream_id, None) == reply, "folding again changes nothing"
    assert await any_store.present([stream_id]) == [stream_id]


async def test_a_tail_that_is_behind_a_finished_fold_hears_the_ending(any_store: Store) -> None:
    """Its reader can then see that there is a hole, and read the blocks; silence would keep it waiting for ever."""
    stream_id = await begin(any_store)
    tail = await write(any_store, stream_id, "one", "two")
    await end(any_store, stream_id, tail=tail)
    await fold_whole(any_store, stream_id)
    tailer = any_store.tailer()
    news = await tailer.read({stream_id: Position(1, 3)}, count=10, block_ms=None)
    assert [entry.event.kind for entry in news[stream_id]] == ["done"]
    assert not await tailer.read({stream_id: Position(1, tail + 1)}, count=10, block_ms=None)
    await tailer.aclose()


async def test_who_may_fold(any_store: Store) -> None:
    stream_id = await create(any_store)
    assert await fold(any_store, stream_id, None) == Fenced(0)
    await claim(any_store, stream_id, lease_ms=OVER_MS)
    await write(any_store, stream_id, "one", "two")
    assert await fold(any_store, stream_id, None) == Fenced(1), "a live stream is its writer's"
    await claim(any_store, stream_id, 2, mode="continue")
    assert await fold(any_store, stream_id, 1) == Fenced(2)
    await end(any_store, stream_id, number=2, tail=6)
    assert await fold(any_store, stream_id, 2) == Closed("done", 7)
    assert await fold(any_store, "07" + "f" * 30, None) == Gone()


async def test_a_stream_that_nobody_wrote_can_be_folded(any_store: Store) -> None:
    stream_id = await create(any_store, dispatch_ms=OVER_MS)
    await any_store.cancel(stream_id, attempt=None, nonce=nonce(9), retention=RETENTION)
    assert (await fold_whole(any_store, stream_id)).folded == 0
    assert (await tell(any_store, stream_id)).pieces == [("cancelled", 0, "{}")]


async def test_blocks_double_so_that_work_stays_linear(any_store: Store) -> None:
    stream_id, tail = await begin(any_store), 0
    for _ in range(64):
        tail = await write(any_store, stream_id, "x" * 100, tail=tail)
        await fold(any_store, stream_id)
    blocks = [value for kind, value in await events_of(any_store, stream_id)]
    assert sum(map(len, blocks)) == tail
    assert len(blocks) <= 8
    assert sorted(map(len, blocks), reverse=True) == list(map(len, blocks))


async def test_blocks_are_bounded_and_pages_of_them_too(any_store: Store) -> None:
    stream_id, tail = await begin(any_store), 0
    said = texts(*("y" * 30_000 for _ in range(40)))
    await append(any_store, stream_id, said)
    tail = sum(event.size for event in said)
    await end(any_store, stream_id, tail=tail)
    await fold_whole(any_store, stream_id, block_bytes=100_000)
    told = await tell(any_store, stream_id)
    assert told.pieces == [("text", 0, "y" * tail), ("done", 0, '{"finish_reason":"stop"}')]
    assert told.events == 14 + 1
    assert told.pages >= 4, "a page ends soon after 256 KiB"


async def test_pages_of_large_entries_are_bounded(any_store: Store) -> None:
    """Such as the pieces of a long tool call, which cannot be folded before it is whole."""
    stream_id = await begin(any_store)
    await append(any_store, stream_id, [events.delta("text", f"{number:05}" * 6_000) for number in range(40)])
    sizes, after = [], START
    while (page := await any_store.read(stream_id, after, limit=1_000)) and page.entries:
        sizes.append(sum(len(entry.event.value) for entry in page.entries if entry.event.kind == "text"))
        after = page.entries[-1].position
    assert sizes == [270_000] * 4 + [120_000]


async def test_one_fold_takes_a_bounded_number_of_entries(any_store: Store) -> None:
    stream_id = await begin(any_store)
    tail = 0
    for _ in range(5):
        tail = await write(any_store, stream_id, *("z" for _ in range(1_000)), tail=tail)
    reply = await fold(any_store, stream_id)
    assert isinstance(reply, Compacted)
    assert reply.more
    assert reply.folded < 4_001
    again = await fold(any_store, stream_id)
    assert isinstance(again, Compacted)
    assert (again.folded, again.more) == (4_999, False)


async def test_many_parts_make_several_blocks(any_store: Store) -> None:
    """Lua can hand only so many values to one XADD."""
    stream_id = await begin(any_store)
    said: list[Event] = []
    for number in range(1_500):
        said += [events.delta("text", f"{number}"), events.delta("reasoning", "r")]
    tail = 0
    for start in range(0, len(said), 500):
        await append(any_store, stream_id, said[start : start + 500], tail=tail)
        tail += sum(event.size for event in said[start : start + 500])
    await end(any_store, stream_id, tail=tail)
    await fold_whole(any_store, stream_id)
    assert (await tell(any_store, stream_id)).pieces == spoken([*said, events.done("stop")])


async def test_pieces_of_one_tool_call_become_one(any_store: Store) -> None:
    stream_id = await begin(any_store)
    said = [
        events.tool_call(0, '{"q":"', call_id="call-1", name='say "hi"'),
        events.tool_call(0, 'a/b\\\u2028"'),
        events.tool_call(0, "\x00é😀"),
        events.tool_call(1, "", call_id="call-2", name="second"),
        events.tool_call(0, "late"),
        events.tool_call(0, "r"),
    ]
    await append(any_store, stream_id, said)
    await end(any_store, stream_id, tail=sum(event.size for event in said))
    await fold_whole(any_store, stream_id)
    joined = events.tool_call(0, '{"q":"a/b\\\u2028"\x00é😀', call_id="call-1", name='say "hi"')
    assert await events_of(any_store, stream_id) == [
        ("tool_call", joined.value),
        ("tool_call", said[3].value),
        ("tool_call", events.tool_call(0, "later").value),
        ("done", b'{"finish_reason":"stop"}'),
    ]


async def test_provider_data_is_folded_with_its_call(any_store: Store) -> None:
    stream_id = await begin(any_store)
    data = {"signature": 'a"}', "deep": [{"arguments_delta": "no"}]}
    said = [
        events.delta("reasoning", "hm"),
        events.reasoning_end(data),
        events.tool_call(0, '{"q":', call_id="call-1", name="f", provider_data=data),
        events.tool_call(0, "1}"),
        events.annotation(data),
        *events.file_pieces(0, "A" * (events.MAX_EVENT_BYTES + 1)),
    ]
    await append(any_store, stream_id, said)
    await end(any_store, stream_id, tail=sum(event.size for event in said))
    await fold_whole(any_store, stream_id)
    joined = events.tool_call(0, '{"q":1}', call_id="call-1", name="f", provider_data=data)
    assert await events_of(any_store, stream_id) == [
        *((event.kind, event.value) for event in (*said[:2], joined, *said[4:])),
        ("done", b'{"finish_reason":"stop"}'),
    ]


async def test_what_is_over_the_budget_of_a_stream_is_trimmed_and_told(any_store: Store) -> None:
    stream_id, tail = await begin(any_store), 0
    for number in range(20):
        tail = await write(any_store, stream_id, str(number % 10) * 1_000, tail=tail)
        await fold(any_store, stream_id, block_bytes=2_000, max_bytes=6_000)
    meta = await meta_of(any_store, stream_id)
    assert meta.bytes <= 6_000
    assert meta.trimmed == 16_000
    told = await tell(any_store, stream_id)
    assert told.gaps == [(0, meta.trimmed)]
    assert (
        "".join(text for _, _, text in told.pieces) == "".join(str(n % 10) * 1_000 for n in range(20))[meta.trimmed :]
    )
    tailing = await tell(any_store, stream_id, meta.lineage.event_id(tail - 1))
    assert not tailing.gaps
    assert (await any_store.usage()).trimmed_units >= meta.trimmed


@pytest.mark.parametrize("length", [400, 431, 432, 433, 560, 561, 900, 5_000, 100_000])
async def test_a_block_costs_what_allocators_round_it_up_to(any_store: Store, length: int) -> None:
    stream_id = await begin(any_store)
    await write(any_store, stream_id, "x" * length, "y")
    reply = await fold(any_store, stream_id)
    assert isinstance(reply, Compacted)
    size = 64 + 16 + length
    classes = sorted(2**power * quarter // 4 for power in range(6, 20) for quarter in (5, 6, 7, 8))
    assert reply.bytes - REST - (ENTRY + 1) == next(each for each in classes if each >= size)


async def test_a_stream_leaves_room_for_a_block_that_is_on_its_way(any_store: Store) -> None:
    """What is moved is there several times while it is: it is made room for before, not after."""
    stream_id, tail = await begin(any_store), 0
    for number in range(40):
        tail = await write(any_store, stream_id, str(number % 10) * 1_000, tail=tail)
        await fold(any_store, stream_id, block_bytes=1_000, max_bytes=30_000)
    meta = await meta_of(any_store, stream_id)
    assert 24_000 < meta.bytes <= 30_000 - 3 * 1_000


async def test_a_new_start_has_no_past(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    tail = await write(any_store, stream_id, *("old " for _ in range(100)))
    await fold(any_store, stream_id, block_bytes=120, max_bytes=200)
    assert (await meta_of(any_store, stream_id)).folded > 0
    await claim(any_store, stream_id, 2)
    meta = await meta_of(any_store, stream_id)
    assert (meta.folded, meta.trimmed, meta.bytes) == (0, 0, REST)
    assert (await any_store.usage()).blocks == 0
    await write(any_store, stream_id, "new", number=2)
    assert (await tell(any_store, stream_id)).pieces == [("text", 0, "new")]
    assert tail == 400


@pytest.mark.parametrize("count", [0, 1, 2])
async def test_a_fold_of_hardly_anything_changes_nothing(any_store: Store, count: int) -> None:
    stream_id = await begin(any_store)
    await write(any_store, stream_id, *(["a"] * count))
    before = (await tell(any_store, stream_id)).pieces
    await fold(any_store, stream_id)
    await fold(any_store, stream_id)
    assert (await tell(any_store, stream_id)).pieces == before


async def test_memory_of_a_folded_answer(store: RedisStore) -> None:
    """500 tokens of 5 bytes: what Redis itself says that the log takes, live and folded."""
    stream_id, tail = await begin(store), 0
    for _ in range(500):
        tail = await write(store, stream_id, " tokn", tail=tail)
    live = await log_footprint(store, stream_id)
    await end(store, stream_id, tail=tail)
    await fold_whole(store, stream_id)
    folded = await log_footprint(store, stream_id)
    assert folded <= 9 * 500
    assert folded < live / 3


async def log_footprint(store: RedisStore, stream_id: str) -> int:
    keys = (store.keys.stream(stream_id), store.keys.blocks(stream_id))
    return sum([await store.client.memory_usage(key, samples=0) or 0 for key in keys])
