"""Events: what is stored, what readers get, and how large it is in units."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.log import events
from shared.log.events import DELTA_KINDS, KINDS, MAX_EVENT_BYTES, TERMINAL_KINDS, Event, LogEntry
from shared.log.position import Position

__all__ = ()

# Any str that Python can hold, lone surrogates included: that is what a careless JSON decoder hands over.
any_text = st.text(st.characters(exclude_categories=()), max_size=30)
kinds = st.sampled_from(sorted(DELTA_KINDS))
LINE_ENDS = ("\r", "\n", "\x85", "\u2028", "\u2029")
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


def as_readers_see_it(event: Event) -> dict[str, object]:
    data = event.data()
    assert not any(end in data.decode() for end in LINE_ENDS)
    assert data.startswith(b'{"type":"' + event.kind.encode() + b'"')
    found: dict[str, object] = json.loads(data)
    return found


@given(kinds, any_text)
def test_a_delta_is_its_utf8(kind: str, text: str) -> None:
    event = events.delta(kind, text)
    clean = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert event.value == clean.encode()
    assert event.size == len(event.value)
    assert as_readers_see_it(event) == {"type": kind, "delta": clean}
    assert not event.is_terminal


@pytest.mark.parametrize(
    ("text", "clean"),
    [("\ud83c\udf0a", "\U0001f30a"), ("a\ud83cb", "a\ufffdb"), ("\udc00", "\ufffd"), ("", ""), ("\x00", "\x00")],
)
def test_surrogates_become_what_they_stand_for(text: str, clean: str) -> None:
    assert events.delta("text", text).value.decode() == clean


@given(st.integers(0, 99), any_text, st.none() | any_text, any_text)
def test_a_tool_call_counts_its_arguments_and_its_opening(
    index: int, arguments: str, call_id: str | None, name: str
) -> None:
    event = events.tool_call(index, arguments, call_id=call_id, name=name)
    fields = as_readers_see_it(event)
    assert fields["index"] == index
    assert ("id" in fields) == ("name" in fields) == (call_id is not None)
    assert event.size == len(str(fields["arguments_delta"]).encode()) + (call_id is not None)


@given(st.dictionaries(st.text(max_size=6), json_values, max_size=4))
def test_other_events_are_one_object_and_one_unit(fields: dict[str, object]) -> None:
    event = events.usage(fields)
    assert event.size == 1
    assert event.fields() == fields
    fields = {name: value for name, value in fields.items() if name != "type"}
    assert as_readers_see_it(events.usage(fields)) == {"type": "usage"} | fields


def test_the_endings() -> None:
    assert events.done("stop", attempt=2).data() == b'{"type":"done","finish_reason":"stop","attempt":2}'
    assert events.CANCELLED.data() == b'{"type":"cancelled"}'
    assert events.cancelled(reason="user").data() == b'{"type":"cancelled","reason":"user"}'
    failure = events.error("provider_failed", "It failed.", retryable=True)
    assert as_readers_see_it(failure) == {
        "type": "error",
        "code": "provider_failed",
        "message": "It failed.",
        "retryable": True,
    }
    for event in (events.done("stop"), events.CANCELLED, failure):
        assert event.is_terminal
        assert event.size == 1


def test_a_fence_takes_no_room() -> None:
    event = events.fence(nonce="9f2c01ab", keep=7, reason="start", worker="w/1")
    assert event.value == b'{"nonce":"9f2c01ab","keep":7,"reason":"start","worker":"w/1"}'
    assert (event.kind, event.size, event.is_terminal) == ("fence", 0, False)


def one_of_each() -> list[Event]:
    return [
        *(events.delta(kind, "é\u2028") for kind in sorted(DELTA_KINDS)),
        events.tool_call(0, '{"é', call_id="c", name="n"),
        events.tool_call(0, 'é"}'),
        events.tool_call(0, "", call_id="c", name="n"),
        events.tool_call(0, "{", call_id="c", name="n", provider_data={"signature": "s"}),
        events.reasoning_end({"signature": "s"}),
        events.annotation({"type": "url_citation"}),
        *events.file_pieces(0, "data:image/png;base64," + "A" * MAX_EVENT_BYTES, "image/png"),
        events.usage({"input_tokens": 1}),
        events.fence(nonce="9f2c01ab", keep=0, reason="start", worker=""),
        events.done("stop"),
        events.error("code", "why", retryable=False),
        events.CANCELLED,
    ]


@pytest.mark.parametrize("event", one_of_each(), ids=lambda event: event.kind)
def test_what_was_stored_is_the_same_event_again(event: Event) -> None:
    assert events.stored(event.kind, event.value) == event


def test_every_kind_was_tried() -> None:
    assert {event.kind for event in one_of_each()} == KINDS
    assert TERMINAL_KINDS < KINDS
    assert DELTA_KINDS < KINDS


def test_an_entry_starts_where_its_size_says() -> None:
    assert LogEntry(Position(2, 10), events.delta("text", "four")).start == 6


@given(kinds, any_text, st.integers(4, 40))
def test_a_long_delta_is_cut_between_characters(kind: str, text: str, max_bytes: int) -> None:
    whole = events.delta(kind, text)
    parts = events.pieces(whole, max_bytes=max_bytes)
    assert b"".join(part.value for part in parts) == whole.value
    assert sum(part.size for part in parts) == whole.size
    for part in parts:
        assert part.kind == kind
        assert part.size <= max_bytes
        part.value.decode()


@given(any_text, st.none() | st.just("call_1"), st.integers(4, 40))
def test_a_long_tool_call_is_opened_once(arguments: str, call_id: str | None, max_bytes: int) -> None:
    whole = events.tool_call(3, arguments, call_id=call_id, name="f")
    parts = events.pieces(whole, max_bytes=max_bytes)
    assert "".join(part.fields()["arguments_delta"] for part in parts) == whole.fields()["arguments_delta"]
    assert sum(part.size for part in parts) == whole.size
    assert [part.fields().get("id") for part in parts[1:]] == [None] * (len(parts) - 1)
    assert parts[0].fields().get("id") == call_id


def test_a_short_event_is_left_alone() -> None:
    event = events.delta("text", "x" * MAX_EVENT_BYTES)
    assert events.pieces(event) == (event,)
    assert events.pieces(events.usage({"a": "b" * 99}), max_bytes=1) == (events.usage({"a": "b" * 99}),)


def test_a_value_is_not_shown() -> None:
    """Prompts and answers do not reach a log by way of an exception."""
    assert "secret" not in repr(LogEntry(Position(1, 6), events.delta("text", "secret")))
