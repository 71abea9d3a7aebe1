"""A message out of its events."""

from itertools import pairwise

import orjson
from hypothesis import given
from hypothesis import strategies as st

from shared.log.events import Event, LogEntry, delta, done, fence, json_line, tool_call, usage
from shared.log.message import Content, is_content
from shared.log.position import Position

__all__ = ()

DELTA = st.builds(delta, st.sampled_from(("text", "reasoning", "refusal")), st.text(min_size=1, max_size=5))


def entries(*events: Event) -> list[LogEntry]:
    offset, found = 0, []
    for event in events:
        offset += event.size
        found.append(LogEntry(Position(1, offset), event))
    return found


@given(st.lists(DELTA, max_size=20))
def test_neighbours_of_one_kind_are_one_part_and_nothing_is_lost(deltas: list[Event]) -> None:
    content = Content(entries(*deltas))
    parts = content.parts()
    assert "".join(part["text"] for part in parts) == "".join(event.value.decode() for event in deltas)
    assert all(one["type"] != other["type"] for one, other in pairwise(parts))
    assert content.offset == sum(event.size for event in deltas)


CALL = st.builds(
    lambda index, text, call_id: tool_call(index, text, call_id=call_id, name='f"\\' if call_id else None),
    st.integers(0, 2),
    st.text(max_size=5),
    st.none() | st.just("c/1"),
)


@given(st.lists(DELTA | CALL | st.builds(usage, st.just({"total_tokens": 1})), max_size=20))
def test_event_by_event_it_is_the_same_json(events: list[Event]) -> None:
    content = Content(entries(*events))
    written = b"".join(content.json())
    assert orjson.loads(written) == content.parts()
    assert written == json_line(content.parts())


def test_a_tool_call_gathers_its_arguments() -> None:
    events = (tool_call(0, '{"q"', call_id="c1", name="find"), tool_call(0, ":1}"))
    assert Content(entries(*events)).parts() == [
        {"type": "tool_call", "index": 0, "id": "c1", "name": "find", "arguments": '{"q":1}'}
    ]


def test_calls_side_by_side_are_told_apart_by_index() -> None:
    events = (
        tool_call(0, "a", call_id="c0", name="x"),
        tool_call(1, "b", call_id="c1", name="y"),
        tool_call(0, "A"),
        tool_call(1, "B"),
    )
    assert [part["arguments"] for part in Content(entries(*events)).parts()] == ["aA", "bB"]


def test_an_index_that_is_opened_again_is_another_call() -> None:
    events = (
        tool_call(0, "a", call_id="c0", name="x"),
        tool_call(0, "b", call_id="c1", name="y"),
        tool_call(0, "B"),
    )
    assert [part["arguments"] for part in Content(entries(*events)).parts()] == ["a", "bB"]


def test_news_about_the_message_is_no_part_of_it() -> None:
    events = (delta("text", "hi"), usage({"total_tokens": 1}), done("stop"))
    content = Content(entries(*events))
    assert content.parts() == [{"type": "text", "text": "hi"}]
    assert content.offset == 2
    assert not any(map(is_content, (*events[1:], fence(nonce="0" * 8, keep=0, reason="start", worker="w"))))
