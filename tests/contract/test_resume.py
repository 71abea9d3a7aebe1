"""Check, then read: what a reader at a cursor is told, on every store."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared.log import events
from shared.log.events import DELTA_KINDS, Event, LogEntry
from shared.log.lineage import Reset
from shared.log.position import START, EventId, Position
from shared.log.slicing import InsideCharacter, after
from shared.store.resume import Deliver, Renamed, Step, UpToDate, at_end, step
from shared.store.store import Store
from tests.support.streams import ALL, OVER_MS, begin, claim, create, end, nonce, write

__all__ = ()


async def step_at(store: Store, stream_id: str, cursor: EventId) -> Step:
    snapshot = await store.read(stream_id, START, limit=ALL)
    assert snapshot is not None
    return step(cursor, snapshot)


def at(attempt: int, offset: int, *, number: int | None = None) -> EventId:
    return EventId(Position(attempt, offset), nonce(number) if number else None)


async def delivered(store: Store, stream_id: str, cursor: EventId) -> bytes:
    told = await step_at(store, stream_id, cursor)
    assert isinstance(told, Deliver), told
    return b"".join(entry.event.value for entry in told.entries)


async def test_a_reader_gets_what_follows_its_cursor(any_store: Store) -> None:
    stream_id = await begin(any_store)
    await write(any_store, stream_id, "one ", "two ")
    assert await delivered(any_store, stream_id, at(0, 0)) == b"one two "
    assert await delivered(any_store, stream_id, at(1, 4, number=1)) == b"two "
    assert await delivered(any_store, stream_id, at(1, 4)) == b"two "
    assert await step_at(any_store, stream_id, at(1, 8, number=1)) == UpToDate()


async def test_a_cursor_inside_an_event_gets_the_rest_of_it(any_store: Store) -> None:
    stream_id = await begin(any_store)
    await write(any_store, stream_id, "h€llo")
    assert await delivered(any_store, stream_id, at(1, 4, number=1)) == b"llo"
    assert await step_at(any_store, stream_id, at(1, 2, number=1)) == Reset("log_lost")


async def test_fences_are_not_told(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    await write(any_store, stream_id, "one ", "two", safe=4)
    await claim(any_store, stream_id, 2, mode="continue")
    await write(any_store, stream_id, "zwei", number=2, tail=4)
    assert await delivered(any_store, stream_id, at(1, 4, number=1)) == b"zwei"
    assert await delivered(any_store, stream_id, at(0, 0)) == b"one zwei"


async def test_a_reader_of_what_was_thrown_away_starts_over(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    await write(any_store, stream_id, "one ", "two", safe=4)
    await claim(any_store, stream_id, 2, mode="continue")
    await write(any_store, stream_id, "zwei", number=2, tail=4)
    assert await step_at(any_store, stream_id, at(1, 7, number=1)) == Reset("new_attempt")


@pytest.mark.parametrize(
    "cursor", [at(1, 99, number=1), at(1, 3, number=7), at(2, 0, number=2), at(9, 9), at(0, 3)], ids=str
)
async def test_a_cursor_of_a_log_that_is_not_this_one_starts_over(any_store: Store, cursor: EventId) -> None:
    stream_id = await begin(any_store)
    await write(any_store, stream_id, "text")
    assert await step_at(any_store, stream_id, cursor) == Reset("log_lost")


async def test_a_position_that_somebody_has_made_up_is_no_loss(any_store: Store) -> None:
    """Nothing was lost: without a nonce nobody has ever been told of that position."""
    stream_id = await begin(any_store)
    await write(any_store, stream_id, "text")
    assert await step_at(any_store, stream_id, at(1, 99)) == Reset("beyond_tail")


async def test_a_place_under_the_name_of_a_later_attempt_is_found_under_its_own(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    await write(any_store, stream_id, "one ", "two", safe=4)
    await claim(any_store, stream_id, 2, mode="continue")
    await write(any_store, stream_id, "zwei", number=2, tail=4)
    cursor = at(2, 2, number=2)
    snapshot = await any_store.read(stream_id, cursor.position, limit=ALL)
    assert snapshot is not None
    assert step(cursor, snapshot) == Renamed(at(1, 2, number=1))
    assert await delivered(any_store, stream_id, at(1, 2, number=1)) == b"e zwei"


async def test_a_reader_of_a_queued_stream_waits(any_store: Store) -> None:
    assert await step_at(any_store, await create(any_store), at(0, 0)) == UpToDate()


async def test_the_end_is_known_where_it_is(any_store: Store) -> None:
    stream_id = await begin(any_store)
    tail = await write(any_store, stream_id, "text")
    live = await any_store.read(stream_id, START, limit=ALL)
    await end(any_store, stream_id, tail=tail)
    over = await any_store.read(stream_id, START, limit=ALL)
    assert live is not None
    assert over is not None
    assert not at_end(live.meta, step(at(1, tail, number=1), live))
    assert not at_end(over.meta, step(at(1, tail, number=1), over))
    assert at_end(over.meta, step(at(1, tail + 1, number=1), over))


def entry(event: Event) -> LogEntry:
    return LogEntry(Position(1, 10 + event.size), event)


@given(st.text(min_size=1, max_size=12), st.integers(0, 60), st.sampled_from(sorted(DELTA_KINDS)))
def test_a_delta_has_an_exact_rest_at_any_character(text: str, held: int, kind: str) -> None:
    whole, value = entry(events.delta(kind, text)), text.encode()
    try:
        rest = after(whole, 10 + held)
    except InsideCharacter:
        assert value[held] & 0xC0 == 0x80
        return
    if held >= len(value):
        assert rest is None
        return
    assert rest == LogEntry(whole.position, Event(kind, value[held:], len(value) - held))
    assert rest.start == 10 + held


@given(st.text('aé\U0001f30a{}"', max_size=8), st.booleans(), st.integers(0, 40))
def test_a_tool_call_is_opened_once_for_each_reader(arguments: str, is_opening: bool, held: int) -> None:
    assume(arguments or is_opening)
    whole = entry(events.tool_call(2, arguments, call_id="call_1" if is_opening else None, name="f"))
    try:
        rest = after(whole, 10 + held)
    except InsideCharacter:
        return
    if held >= whole.event.size:
        assert rest is None
        return
    assert rest is not None
    assert rest.start == 10 + held
    fields = rest.event.fields()
    assert (fields["index"], "id" in fields) == (2, is_opening and held == 0)
    assert fields["arguments_delta"].encode() == arguments.encode()[max(0, held - is_opening) :]
