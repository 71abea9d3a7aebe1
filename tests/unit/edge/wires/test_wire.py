"""Both framings against parsers that were written apart from them."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.carriers.chunked import chunk
from services.edge.wires.ndjson import NDJSON
from services.edge.wires.notices import Gap, Gone, Heartbeat, Notice, Reconnect, Reset, Start
from services.edge.wires.sse import SSE
from services.edge.wires.wire import Wire
from shared.log.events import Event, LogEntry, delta, done, error, tool_call, usage
from shared.log.position import EventId, Position
from tests.support.script import HAZARDS
from tests.support.sse_client import Item, NdjsonParser, SseParser

__all__ = ()

ID = "1-345.9f2c01ab"
WIRES = [SSE, NDJSON]
TEXT = st.text(st.characters(codec="utf-8"), min_size=1, max_size=60) | st.sampled_from(HAZARDS)
EVENTS = st.one_of(
    st.builds(delta, st.sampled_from(("text", "reasoning", "refusal")), TEXT),
    st.builds(lambda text: tool_call(0, text, call_id=text, name=text), TEXT),
    st.builds(lambda text: tool_call(3, text), TEXT),
    st.builds(lambda text: error("code", text, retryable=True), TEXT),
    st.builds(lambda text: usage({"note": text}), TEXT),
)


def framed(wire: Wire, event: Event) -> bytes:
    return wire.frame(ID, LogEntry(Position(1, 345), event), None)


def parsed(wire: Wire, raw: bytes, cuts: list[int]) -> list[Item]:
    parser = SseParser() if wire is SSE else NdjsonParser()
    edges = sorted({0, len(raw), *(cut % (len(raw) + 1) for cut in cuts)})
    return [item for start, end in pairwise(edges) for item in parser.feed(raw[start:end])]


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
@given(events=st.lists(EVENTS, min_size=1, max_size=5), cuts=st.lists(st.integers(0, 10_000), max_size=6))
def test_what_is_framed_parses_to_itself_however_it_is_cut(wire: Wire, events: list[Event], cuts: list[int]) -> None:
    raw = b"".join(framed(wire, event) for event in events)
    assert [(item.id, item.data) for item in parsed(wire, raw, cuts)] == [(ID, said(event)) for event in events]


def said(event: Event) -> dict[str, Any]:
    if event.kind in {"text", "reasoning", "refusal"}:
        return {"type": event.kind, "delta": event.value.decode()}
    return {"type": event.kind, **event.fields()}


@given(EVENTS)
def test_an_sse_event_is_two_lines_whatever_is_in_it(event: Event) -> None:
    frame = framed(SSE, event).decode()
    assert len(frame.splitlines()) == 3
    assert frame.endswith("\n\n")
    assert "\r" not in frame


@given(EVENTS)
def test_an_ndjson_event_is_one_line_whatever_is_in_it(event: Event) -> None:
    frame = framed(NDJSON, event).decode()
    assert len(frame.splitlines()) == 1
    assert frame.endswith("\n")


def test_an_event_without_an_id_has_no_id_line() -> None:
    assert SSE.notice(Reconnect(5), None) == b'retry: 5\ndata: {"type":"reconnect","retry_ms":5}\n\n'
    assert NDJSON.notice(Reconnect(5), None) == b'{"type":"reconnect","retry_ms":5}\n'


def test_a_tool_call_keeps_its_own_id_beside_the_cursor() -> None:
    (item,) = parsed(NDJSON, framed(NDJSON, tool_call(0, "", call_id="call_1", name="f")), [])
    assert (item.id, (item.data or {})["id"]) == (ID, "call_1")


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
def test_a_heartbeat_is_no_event(wire: Wire) -> None:
    heartbeat = wire.notice(Heartbeat(), None)
    assert parsed(wire, heartbeat, []) == [Item()] == parsed(wire, heartbeat, [1, 2, 3])


def test_the_opening_says_when_to_come_back() -> None:
    assert parsed(SSE, SSE.opening(1234), []) == [Item(retry_ms=1234)]


@given(st.binary(min_size=1, max_size=100))
def test_a_chunk_is_its_size_in_hex_and_its_bytes(payload: bytes) -> None:
    size, _, rest = chunk(payload).partition(b"\r\n")
    assert int(size, 16) == len(payload)
    assert rest == payload + b"\r\n"


def test_done_looks_as_documented() -> None:
    assert framed(SSE, done("stop")) == (b'data: {"type":"done","finish_reason":"stop"}\nid: 1-345.9f2c01ab\n\n')


CURSOR = EventId.parse(ID)


@pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
@pytest.mark.parametrize(
    ("notice", "event_id", "said"),
    [
        (
            Start("0b5c", "smollm2", "running", 1_700_000_000_000, "ollama"),
            None,
            '{"type":"start","stream":"0b5c","model":"smollm2","status":"running","created_ms":1700000000000,"provider":"ollama"}',
        ),
        (
            Start("0b5c", "smollm2", "queued", 5, None),
            None,
            '{"type":"start","stream":"0b5c","model":"smollm2","status":"queued","created_ms":5}',
        ),
        (
            Reset("new_attempt", [{"type": "text", "text": "a"}], CURSOR),
            ID,
            '{"type":"reset","reason":"new_attempt","parts":[{"type":"text","text":"a"}]}',
        ),
        (Reset("log_lost", [], EventId(Position(0, 0), None)), None, '{"type":"reset","reason":"log_lost","parts":[]}'),
        (
            Gap(EventId(Position(0, 0), None), CURSOR),
            ID,
            '{"type":"gap","from":"0-0","to":"1-345.9f2c01ab","reason":"trimmed"}',
        ),
        (Reconnect(5), None, '{"type":"reconnect","retry_ms":5}'),
        (
            Gone(),
            None,
            '{"type":"error","code":"stream_gone","message":"The stream is gone from the store.","retryable":false}',
        ),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else "",
)
def test_a_notice_is_an_event_of_ours(wire: Wire, notice: Notice, event_id: str | None, said: str) -> None:
    """Byte for byte, on both wires: what was sent when these were no types yet."""
    payload = wire.notice(notice, None).decode()
    if wire is NDJSON:
        assert payload == (said if event_id is None else f'{said[:-1]},"event_id":"{event_id}"}}') + "\n"
        return
    before = "retry: 5\n" if isinstance(notice, Reconnect) else ""
    after = "" if event_id is None else f"id: {event_id}\n"
    assert payload == f"{before}data: {said}\n{after}\n"


def test_after_the_news_that_it_is_gone_nothing_follows() -> None:
    assert [wire.final for wire in WIRES] == [{Gone}, {Gone}]
