"""Sequence numbers of random logs: they rise, and each leads back to exactly what follows it."""

import asyncio
import json
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from services.edge.api.openai_responses.place import resumption
from services.edge.delivery.reading import state_at
from services.edge.wires.notices import Start
from services.edge.wires.openai_responses.numbers import number_of, place_of, taken_back
from services.edge.wires.openai_responses.wire import RESPONSES
from shared.log import events
from shared.log.events import Event
from shared.log.position import START, EventId, Position
from shared.store.calls import Compact
from shared.store.memory.store import MemoryStore
from shared.store.message import assemble
from shared.store.replies import Appended, Claimed, Compacted
from shared.store.resume import Deliver, step
from tests.support.streams import append, begin, claim, nonce

__all__ = ()

TEXTS = st.sampled_from(["a", "é", "👩\u200d👧", "\n\ndata: [DONE]\n\n", "sequence_number", "x" * 200])
CALLS = st.integers(0, 2)
EVENTS = st.one_of(
    st.builds(events.delta, st.sampled_from(["text", "reasoning", "refusal"]), TEXTS),
    st.builds(lambda index, text: events.tool_call(index, text, call_id=f"call_{index}", name="f"), CALLS, TEXTS),
    st.builds(events.tool_call, CALLS, TEXTS),
    st.builds(events.annotation, st.fixed_dictionaries({"type": st.just("url_citation")})),
    st.just(events.reasoning_end({"signature": "s"})),
    st.builds(lambda index: events.file_pieces(index, "data:image/png;base64,AA")[0], CALLS),
    st.just(events.usage({"total_tokens": 3})),
)
ENDINGS = st.sampled_from([events.done("stop"), events.done("length"), events.cancelled(), None])
ATTEMPTS = st.lists(st.lists(EVENTS, max_size=8), min_size=1, max_size=3)

Told = list[dict[str, Any]]


@settings(max_examples=60, deadline=None)
@given(ATTEMPTS, ENDINGS, st.booleans())
def test_every_number_of_every_log_rises_and_resumes_exactly(
    attempts: list[list[Event]], ending: Event | None, is_folded: bool
) -> None:
    asyncio.run(check(attempts, ending, is_folded=is_folded))


async def check(attempts: list[list[Event]], ending: Event | None, *, is_folded: bool) -> None:
    store = MemoryStore()
    stream_id = await written(store, attempts, ending)
    before = await told_after(store, stream_id, None)
    if is_folded:
        holder = "" if ending is not None else nonce(len(attempts))
        (reply,) = await store.compact([Compact(stream_id, holder)])
        assert isinstance(reply, Compacted)
    whole = await told_after(store, stream_id, None)
    assert summary(whole) == summary(before)
    for told in (before, whole):
        numbers = [event["sequence_number"] for event in told]
        assert all(earlier < later for earlier, later in pairwise(numbers))
        for place, number in enumerate(numbers, 1):
            rest = await told_after(store, stream_id, str(number))
            assert all(event["sequence_number"] > number for event in rest)
            assert summary([*told[:place], *rest]) == summary(whole)


async def written(store: MemoryStore, attempts: list[list[Event]], ending: Event | None) -> str:
    """A stream whose later attempts continue the earlier ones."""
    stream_id, tail = await begin(store), 0
    for number, said in enumerate(attempts, 1):
        if number > 1:
            claimed = await claim(store, stream_id, number, mode="continue", holder=nonce(number - 1), max_attempts=9)
            assert isinstance(claimed, Claimed)
        new = [*said, ending] if ending is not None and number == len(attempts) else said
        new = [event for event in new if event.size]
        if new:
            assert isinstance(await append(store, stream_id, new, number=number, tail=tail), Appended)
            tail += sum(event.size for event in new)
    return stream_id


async def told_after(store: MemoryStore, stream_id: str, starting_after: str | None) -> Told:
    """What a reader is told after a number, as `Reader` goes about it."""
    meta = await store.meta(stream_id)
    assert meta is not None
    place = resumption(starting_after, meta)
    cursor = EventId(START, None) if place.cursor is None else EventId.parse(place.cursor)
    payload = RESPONSES.notice(Start.of(meta), None) if place.cursor is None else b""
    state = await state_at(store, stream_id, cursor, RESPONSES)
    while (snapshot := await store.read(stream_id, cursor.position, limit=3)) is not None:
        match step(cursor, snapshot):
            case Deliver(entries, following):
                for entry in entries:
                    payload += RESPONSES.frame(str(following), entry, state)
                    state = RESPONSES.after(state, (entry,))
                cursor = following
            case _:
                break
    if meta.is_over:
        whole = await assemble(store, stream_id)
        assert whole is not None
        payload += b"".join(RESPONSES.conclusion(whole, state) or ())
    skipped = 0 if place.told is None else RESPONSES.told(payload, place.told)
    blocks = payload[skipped:].split(b"\n\n")[:-1]
    return [json.loads(block.partition(b"\ndata: ")[2]) for block in blocks]


def summary(told: Told) -> list[tuple[str, Any, str]]:
    """The frames without their numbers, deltas of one item that follow each other as one."""
    found: list[tuple[str, Any, str]] = []
    for event in told:
        rest = {name: value for name, value in event.items() if name not in {"sequence_number", "delta"}}
        frame = (event["type"], rest, event.get("delta", ""))
        if found and "delta" in event and found[-1][:2] == frame[:2]:
            found[-1] = (*frame[:2], found[-1][2] + frame[2])
        else:
            found.append(frame)
    return found


@given(st.integers(1, 512), st.integers(0, 2**39 - 1), st.integers(0, 31))
def test_a_number_is_a_place_and_javascript_can_hold_it(attempt: int, offset: int, phase: int) -> None:
    number = number_of(attempt, offset, phase)
    assert number < 2**53
    assert place_of(number) == (Position(attempt, offset), phase)


def test_items_are_taken_back_before_the_next_attempt_says_anything() -> None:
    assert number_of(1, 2**30, 31) < taken_back(2, 0) < taken_back(2, 5) < number_of(2, 0)
