"""Whatever a reader holds of an event, the rest it is given makes the whole."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.log.events import Event, LogEntry, delta, done, tool_call
from shared.log.position import Position
from shared.log.slicing import InsideCharacter, after, until

__all__ = ()

TEXT = st.text(min_size=1, max_size=40)


def entry_of(event: Event, *, start: int = 100) -> LogEntry:
    return LogEntry(Position(1, start + event.size), event)


def arguments_of(entry: LogEntry) -> str:
    arguments: str = entry.event.fields()["arguments_delta"]
    return arguments


@given(TEXT, st.data())
def test_a_delta_cut_between_characters_has_an_exact_rest(text: str, data: st.DataObject) -> None:
    entry = entry_of(delta("text", text))
    whole = entry.event.value.decode()
    held = data.draw(st.integers(0, len(whole)))
    rest = after(entry, 100 + len(whole[:held].encode()))
    assert whole[:held] + (rest.event.value.decode() if rest else "") == whole


@given(TEXT, st.data())
def test_the_rest_keeps_the_arithmetic_of_positions(text: str, data: st.DataObject) -> None:
    entry = entry_of(delta("reasoning", text))
    whole = entry.event.value.decode()
    offset = 100 + len(whole[: data.draw(st.integers(0, len(whole) - 1))].encode())
    rest = after(entry, offset)
    assert rest is not None
    assert (rest.start, rest.position, rest.event.kind) == (offset, entry.position, "reasoning")


def test_inside_a_character_there_is_no_rest() -> None:
    entry = entry_of(delta("text", "é"))
    with pytest.raises(InsideCharacter):
        after(entry, 101)


@given(st.text(max_size=30), st.data())
def test_who_holds_the_opening_of_a_call_is_not_told_its_name_again(text: str, data: st.DataObject) -> None:
    entry = entry_of(tool_call(2, text, call_id="call_1", name="search"))
    whole = arguments_of(entry)
    held = data.draw(st.integers(0, len(whole)))
    rest = after(entry, 101 + len(whole[:held].encode()))
    if held == len(whole):
        assert rest is None
        return
    assert rest is not None
    assert rest.event.fields() == {"index": 2, "arguments_delta": whole[held:]}
    assert rest.start == 101 + len(whole[:held].encode())


def test_a_continued_call_is_cut_like_a_delta() -> None:
    rest = after(entry_of(tool_call(0, "abc")), 101)
    assert rest is not None
    assert (arguments_of(rest), rest.event.size) == ("bc", 2)


@pytest.mark.parametrize("offset", [0, 99, 100])
def test_who_holds_nothing_of_it_gets_the_entry_itself(offset: int) -> None:
    entry = entry_of(done("stop"))
    assert after(entry, offset) is entry


@pytest.mark.parametrize("offset", [101, 102, 10**9])
def test_who_holds_all_of_it_gets_nothing(offset: int) -> None:
    assert after(entry_of(done("stop")), offset) is None


@given(TEXT, st.sampled_from(["text", "call", "opening"]), st.data())
def test_an_event_that_grew_is_what_it_was_up_to_its_old_end(text: str, kind: str, data: st.DataObject) -> None:
    def event_of(said: str) -> Event:
        if kind == "text":
            return delta("text", said)
        return tool_call(3, said, call_id="id", name="f") if kind == "opening" else tool_call(3, said)

    before = entry_of(event_of(text[: data.draw(st.integers(1, len(text)))]))
    grown = entry_of(event_of(text))
    assert until(grown, before.position) == before
    assert until(before, before.position) == before
