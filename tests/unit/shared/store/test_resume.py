"""What a cursor gets from a snapshot: every verdict, and every cursor of every log joined to the whole."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.log.events import Event, LogEntry, delta, done, tool_call, usage
from shared.log.lineage import Reset
from shared.log.position import START, EventId, Position
from shared.store.memory.store import MemoryStore
from shared.store.meta_hash import meta_reply
from shared.store.resume import Deliver, Gap, Step, UpToDate, Vanished, at_end, step
from shared.store.state import Snapshot
from tests.support.streams import ALL, append, begin, claim, nonce, write

__all__ = ()

BEGINNING = EventId(START, None)
EVENTS = st.one_of(
    st.builds(delta, st.sampled_from(("text", "reasoning")), st.text(min_size=1, max_size=6)),
    st.builds(lambda text: tool_call(0, text, call_id="c", name="f"), st.text(max_size=6)),
    st.just(usage({"total_tokens": 3})),
)


def at(offset: int, attempt: int = 1) -> EventId:
    return EventId(Position(attempt, offset), nonce(attempt))


async def snapshot_of(*events: Event, after: EventId = BEGINNING, over: bool = False) -> Snapshot:
    store = MemoryStore()
    stream_id = await begin(store)
    if events or over:
        await append(store, stream_id, [*events, *([done("stop")] if over else [])])
    snapshot = await store.read(stream_id, after.position, limit=ALL)
    assert snapshot is not None
    return snapshot


def delivered(found: Step) -> list[bytes]:
    assert isinstance(found, Deliver)
    return [entry.event.value for entry in found.entries]


async def test_a_fresh_reader_gets_everything_but_the_fence() -> None:
    assert delivered(step(BEGINNING, await snapshot_of(delta("text", "a"), delta("text", "b")))) == [b"a", b"b"]


async def test_a_cursor_gets_what_follows_it() -> None:
    events = delta("text", "ab"), delta("text", "cd")
    assert delivered(step(at(2), await snapshot_of(*events, after=at(2)))) == [b"cd"]
    assert delivered(step(at(3), await snapshot_of(*events, after=at(3)))) == [b"d"]


async def test_who_has_it_all_waits() -> None:
    snapshot = await snapshot_of(delta("text", "ab"), after=at(2))
    assert step(at(2), snapshot) == UpToDate()
    assert not is_at_end(at(2), snapshot)


async def test_at_the_end_of_a_finished_stream_nothing_will_come() -> None:
    snapshot = await snapshot_of(delta("text", "ab"), over=True, after=at(3))
    assert is_at_end(at(3), snapshot)
    assert not is_at_end(at(2), await snapshot_of(delta("text", "ab"), over=True, after=at(2)))


def is_at_end(cursor: EventId, snapshot: Snapshot) -> bool:
    return at_end(snapshot.meta, step(cursor, snapshot))


@pytest.mark.parametrize(
    "cursor",
    [at(3), at(0, attempt=2), at(9, attempt=7), EventId(Position(1, 1), "ffffffff"), EventId(START, nonce(1))],
    ids=str,
)
async def test_a_cursor_that_is_none_of_this_log_starts_over(cursor: EventId) -> None:
    snapshot = await snapshot_of(delta("text", "ab"), after=cursor)
    assert step(cursor, snapshot) == Reset("log_lost")
    assert not is_at_end(cursor, snapshot)


async def test_a_cursor_inside_a_character_starts_over() -> None:
    assert step(at(1), await snapshot_of(delta("text", "é"), after=at(1))) == Reset("log_lost")


async def test_a_cursor_that_a_fence_has_passed_starts_over() -> None:
    store = MemoryStore()
    stream_id = await begin(store, lease_ms=-1000)
    await write(store, stream_id, "abc")
    await claim(store, stream_id, 2)
    snapshot = await store.read(stream_id, Position(1, 3), limit=ALL)
    assert snapshot is not None
    assert step(at(3), snapshot) == Reset("new_attempt")


async def test_a_log_that_is_gone_while_meta_is_there_has_vanished() -> None:
    snapshot = await snapshot_of(delta("text", "ab"))
    assert step(BEGINNING, Snapshot(snapshot.meta, ())) == Vanished()


async def test_what_was_trimmed_is_a_gap_and_never_skipped() -> None:
    snapshot = await snapshot_of(delta("text", "ab"), delta("text", "cd"))
    trimmed = Snapshot(trimmed_meta(snapshot, 2), snapshot.entries[2:])
    assert step(BEGINNING, trimmed) == Gap(at(2))
    assert step(at(1), trimmed) == Gap(at(2))
    assert delivered(step(at(2), trimmed)) == [b"cd"]


def trimmed_meta(snapshot: Snapshot, trimmed: int) -> Any:
    fences = {
        f"fence:{fence.attempt}".encode(): b'{"nonce":"%b","keep":0,"reason":"start","worker":"w"}'
        % fence.nonce.encode()
        for fence in snapshot.meta.fences
    }
    raw = {b"status": b"running", b"attempt": b"1", b"tail": b"%d" % snapshot.meta.tail, b"trimmed": b"%d" % trimmed}
    return meta_reply(snapshot.meta.id, raw | fences)


async def test_a_hole_ends_what_is_delivered() -> None:
    snapshot = await snapshot_of(delta("text", "ab"), delta("text", "cd"), delta("text", "ef"))
    holed = Snapshot(snapshot.meta, [*snapshot.entries[:2], *snapshot.entries[3:]])
    assert delivered(step(BEGINNING, holed)) == [b"ab"]
    assert step(at(2), holed) == Vanished()


async def test_a_large_page_is_cut_and_says_so() -> None:
    snapshot = await snapshot_of(*(delta("text", "x" * 100) for _ in range(10)))
    found = step(BEGINNING, snapshot, max_bytes=250)
    assert isinstance(found, Deliver)
    assert (len(found.entries), found.is_cut) == (3, True)
    whole = step(BEGINNING, snapshot, max_bytes=1000)
    assert isinstance(whole, Deliver)
    assert (len(whole.entries), whole.is_cut) == (10, False)


@given(events=st.lists(EVENTS, min_size=1, max_size=8), max_bytes=st.integers(1, 20), data=st.data())
async def test_walking_from_any_event_to_the_end_takes_every_unit_once(
    events: list[Event], max_bytes: int, data: st.DataObject
) -> None:
    whole = await snapshot_of(*events, over=True)
    ends = [0, *(entry.position.offset for entry in whole.entries)]
    cursor, walked = at(data.draw(st.sampled_from(ends[:-1]))), list[LogEntry]()
    expected = [entry for entry in whole.entries if entry.start >= cursor.position.offset and entry.event.size]
    while not is_at_end(cursor, whole):
        found = step(cursor, whole, max_bytes=max_bytes)
        assert isinstance(found, Deliver)
        walked += found.entries
        cursor = found.cursor
    assert walked == expected
