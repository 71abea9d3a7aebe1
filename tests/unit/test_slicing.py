"""The rest of an event for a reader that holds a part of it."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from shared import events
from shared.events import Event, LogEntry
from shared.position import Position
from shared.slicing import InsideCharacter, after

__all__ = ()

START_OFFSET = 10


def entry(event: Event) -> LogEntry:
    return LogEntry(Position(1, START_OFFSET + event.size), event)


@given(st.text(min_size=1, max_size=12), st.integers(0, 60), st.sampled_from(["text", "reasoning", "refusal"]))
def test_a_delta_is_cut_at_any_character(text: str, held: int, kind: str) -> None:
    whole = entry(events.delta(kind, text))
    value = text.encode()
    try:
        rest = after(whole, START_OFFSET + held)
    except InsideCharacter:
        assert value[held] & 0xC0 == 0x80
        return
    if held >= len(value):
        assert rest is None
        return
    assert rest is not None
    assert rest.position == whole.position
    assert rest.event == Event(kind, value[held:], len(value) - held)
    assert rest.start == START_OFFSET + held


@given(st.text('aé\U0001f30a{}"', max_size=8), st.booleans(), st.integers(0, 40))
def test_a_tool_call_is_cut_in_its_arguments(arguments: str, is_opening: bool, held: int) -> None:
    assume(arguments or is_opening)
    whole = entry(events.tool_call(2, arguments, call_id="call_1" if is_opening else None, name="f"))
    try:
        rest = after(whole, START_OFFSET + held)
    except InsideCharacter:
        return
    if held >= whole.event.size:
        assert rest is None
        return
    assert rest is not None
    assert rest.start == START_OFFSET + held
    fields = rest.event.fields()
    assert fields["index"] == 2
    assert ("id" in fields) == (is_opening and held == 0)
    missing = held - is_opening if held else 0
    assert fields["arguments_delta"].encode() == arguments.encode()[max(0, missing) :]


@pytest.mark.parametrize("event", [events.usage({"n": 1}), events.done("stop"), events.CANCELLED])
def test_what_is_one_unit_is_there_or_not(event: Event) -> None:
    assert after(entry(event), START_OFFSET) == entry(event)
    assert after(entry(event), START_OFFSET - 5) == entry(event)
    assert after(entry(event), START_OFFSET + 1) is None
    assert after(entry(event), START_OFFSET + 5) is None
