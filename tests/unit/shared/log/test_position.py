"""Positions and event ids; the latter are untrusted input."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import InvalidCursor
from shared.log.position import MAX_EVENT_ID_CHARS, START, EventId, Position

__all__ = ()

LARGEST = 2**53 - 1
numbers = st.integers(0, LARGEST)
positions = st.builds(Position, numbers, numbers)
nonces = st.text("0123456789abcdef", min_size=8, max_size=8)


@given(positions)
def test_a_position_is_an_entry_id(position: Position) -> None:
    assert Position.parse(str(position).encode()) == position


@given(positions, positions)
def test_positions_are_ordered_as_redis_orders_ids(one: Position, other: Position) -> None:
    assert (one < other) == ((one.attempt, one.offset) < (other.attempt, other.offset))


@given(positions, st.none() | nonces)
def test_an_event_id_reads_back(position: Position, nonce: str | None) -> None:
    event_id = EventId(position, nonce)
    assert EventId.parse(str(event_id)) == event_id
    assert len(str(event_id)) <= MAX_EVENT_ID_CHARS
    assert set(str(event_id)) <= set("0123456789abcdef-.")


def test_the_forms_there_are() -> None:
    assert EventId.parse("1-345.9f2c01ab") == EventId(Position(1, 345), "9f2c01ab")
    assert EventId.parse("1-345") == EventId(Position(1, 345), None)
    assert EventId.parse("0-0") == EventId(START, None)
    assert str(START) == "0-0"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "-1",
        "1-",
        "1-2-3",
        "1-2.",
        "1-2.9f2c01a",
        "1-2.9f2c01abc",
        "1-2.9F2C01AB",
        "1-2.9f2c01ag",
        " 1-2",
        "1-2 ",
        "1-2\n",
        "+1-2",
        "1--2",
        "1_0-2",
        "0x1-2",
        "1.0-2",
        "\u0661-\u0662",
        "\uff11-2",
        "1-2.\uff19f2c01ab",
        "now",
        "$",
        "1-2\x00",
        f"{LARGEST + 1}-0",
        f"0-{LARGEST + 1}",
        f"{'0' * 17}-1",
        "1" * 100_000,
    ],
)
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(InvalidCursor):
        EventId.parse(text)


@given(st.text(max_size=70))
def test_nothing_but_a_cursor_or_a_refusal_comes_out(text: str) -> None:
    try:
        event_id = EventId.parse(text)
    except InvalidCursor:
        return
    assert event_id.position.attempt <= LARGEST
    assert event_id.position.offset <= LARGEST
    assert text.isascii()
