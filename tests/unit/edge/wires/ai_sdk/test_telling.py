"""UI message chunks: parts that begin and end, inputs and files that are told whole, and what a reset hands over."""

from collections.abc import Iterable, Sequence
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.edge.wires.ai_sdk.telling import Telling
from services.edge.wires.ai_sdk.wire import AI_SDK, AI_SDK_6, AI_SDK_ANEW, MESSAGE_ID
from services.edge.wires.notices import Gap, Gone, Reset, Start
from services.edge.wires.wire import Unsayable, Wire
from shared.log import events
from shared.log.events import Event, LogEntry
from shared.log.message import Content
from shared.log.page import DeltaPage
from shared.log.position import START, EventId, Position
from tests.wires.hearing import AiSdkHearing

__all__ = ()

BEGINNING = EventId(START, None)
# No two calls of a message have one id.
numbers = st.integers(0, 2)
any_event = st.one_of(
    st.builds(events.delta, st.sampled_from(["text", "reasoning", "refusal"]), st.text(min_size=1, max_size=4)),
    numbers,
    st.builds(lambda number, piece: events.tool_call(number, piece), numbers, st.text(max_size=3)),
    st.builds(events.reasoning_end, st.just({"signature": "s"})),
    st.builds(events.annotation, st.just({"type": "url_citation", "url_citation": {"url": "https://a.example"}})),
    st.builds(lambda number: events.file_pieces(number, "data:image/png;base64,AA")[0], numbers),
    st.builds(lambda number: Event("file", b'{"index":%d,"url_delta":"AA"}' % number, 1), numbers),
    st.builds(events.usage, st.just({"total_tokens": 3})),
)


def entries_of(said: Iterable[Event | int]) -> list[LogEntry]:
    """A log of these events; a number opens the call of that number.

    What continues a call that was never opened is left out: nobody writes that.
    """
    entries, offset, opened = list[LogEntry](), 0, set[int]()
    for place, each in enumerate(said):
        event = _opening(each, place) if isinstance(each, int) else each
        if event.kind == "tool_call":
            fields = event.fields()
            if "id" not in fields and fields["index"] not in opened:
                continue
            opened.add(fields["index"])
        offset += event.size
        entries.append(LogEntry(Position(1, offset), event))
    return entries


def _opening(number: int, place: int) -> Event:
    return events.tool_call(number, "{", call_id=f"call-{place}", name="f")


def framed(entries: Sequence[LogEntry], state: Telling, wire: Wire = AI_SDK) -> bytes:
    frames = []
    for entry in entries:
        frames.append(wire.frame("1-1.00000000", entry, state))
        state = wire.after(state, [entry])
    return b"".join(frames)


def heard(raw: bytes) -> AiSdkHearing:
    hearing = AiSdkHearing()
    hearing.feed(raw)
    return hearing


def told(*said: Event | int) -> list[dict[str, Any]]:
    """The chunks of a message."""
    raw = framed(entries_of(said), Telling("m"))
    return [orjson.loads(line.removeprefix(b"data: ")) for line in raw.split(b"\n\n") if line]


@given(st.lists(any_event, max_size=12), st.integers(0, 12))
def test_what_a_reset_hands_over_fits_what_follows_it(said: list[Event | int], cut: int) -> None:
    """Wherever the message is cut in two: parts, their numbers, and what is open are those of who heard all."""
    entries = [*entries_of(said), LogEntry(Position(1, 10**6), events.done("stop"))]
    before, after = entries[:cut], entries[cut:]
    whole = framed(entries, Telling("m"))
    reset = AI_SDK.notice(Reset("new_attempt", Content(before).parts(), BEGINNING), None)
    rest = framed(after, AI_SDK.after(Telling("m"), before))
    assert heard(reset + rest).spoken() == heard(whole).spoken()
    assert heard(reset + rest).calls() == heard(whole).calls()


@given(st.lists(st.tuples(st.sampled_from(["text", "reasoning"]), st.text(min_size=1, max_size=3)), min_size=1))
def test_a_page_of_deltas_is_framed_as_its_events_are(said: list[tuple[str, str]]) -> None:
    entries = entries_of([events.delta(*each) for each in said])
    page = DeltaPage.of(
        [(str(entry.position).encode(), [entry.event.kind.encode(), entry.event.value]) for entry in entries]
    )
    assert page is not None
    for state in (Telling("m"), AI_SDK.after(Telling("m"), entries_of([events.delta("text", "a")]))):
        assert AI_SDK.deltas(page, b"00000000", state) == framed(entries, state)
        assert AI_SDK.after(state, page) == AI_SDK.after(state, entries)


def test_parts_begin_and_end() -> None:
    chunks = told(
        events.delta("reasoning", "a"), events.delta("text", "b"), events.delta("text", "c"), events.done("stop")
    )
    assert [(chunk["type"], chunk.get("id")) for chunk in chunks] == [
        ("reasoning-start", "0"),
        ("reasoning-delta", "0"),
        ("reasoning-end", "0"),
        ("text-start", "1"),
        ("text-delta", "1"),
        ("text-delta", "1"),
        ("text-end", "1"),
        ("finish-step", None),
        ("finish", None),
    ]


@pytest.mark.parametrize(
    ("arguments", "kind", "value"),
    [
        ('{"a": 1}', "tool-input-available", {"a": 1}),
        ("", "tool-input-available", {}),
        ('{"a": ', "tool-input-error", '{"a": '),
        ('{"a": NaN}', "tool-input-error", '{"a": NaN}'),
        ('"\\ud800"', "tool-input-error", '"\\ud800"'),
    ],
)
def test_the_input_of_a_tool_is_told_whole_at_the_end(arguments: str, kind: str, value: object) -> None:
    opening = events.tool_call(4, arguments[:2], call_id="call_a", name="look_up", provider_data={"thought": "x"})
    chunks = told(opening, events.tool_call(4, arguments[2:]), events.done("tool_calls"))
    assert chunks[0] == {
        "type": "tool-input-start",
        "toolCallId": "call_a",
        "toolName": "look_up",
        "providerMetadata": {"tailrace": {"thought": "x"}},
    }
    (whole,) = [chunk for chunk in chunks if chunk["type"] in {"tool-input-available", "tool-input-error"}]
    assert (whole["type"], whole["input"], whole["toolName"]) == (kind, value, "look_up")
    assert chunks[-1] == {"type": "finish", "finishReason": "tool-calls"}


def test_a_file_is_told_when_it_is_whole() -> None:
    pieces = events.file_pieces(0, "data:image/webp;base64," + "A" * 70_000)
    assert len(pieces) > 1
    chunks = told(*pieces, events.delta("text", "Look."), events.done("stop"))
    assert chunks[0]["type"] == "file"
    assert chunks[0]["mediaType"] == "image/webp"
    assert len(chunks[0]["url"]) == len("data:image/webp;base64,") + 70_000
    assert chunks[1]["type"] == "text-start"


def test_a_citation_is_a_source_and_any_other_note_is_data() -> None:
    cited = {"type": "url_citation", "url_citation": {"url": "https://a.example", "title": "A"}}
    chunks = told(events.delta("text", "a"), events.annotation(cited), events.annotation({"x": 1}))
    assert chunks[2:] == [
        {"type": "source-url", "sourceId": "source-0", "url": "https://a.example", "title": "A"},
        {"type": "data-annotation", "data": {"x": 1}},
    ]


def test_reasoning_takes_its_signature_with_it_and_a_refusal_says_what_it_is() -> None:
    chunks = told(
        events.delta("reasoning", "a"), events.reasoning_end({"signature": "s"}), events.delta("refusal", "No.")
    )
    assert chunks[2] == {
        "type": "reasoning-end",
        "id": "0",
        "providerMetadata": {"tailrace": {"signature": "s"}},
    }
    assert chunks[3]["providerMetadata"] == {"tailrace": {"refusal": True}}


@pytest.mark.parametrize(
    ("reason", "said"),
    [("stop", "stop"), ("length", "length"), ("content_filter", "content-filter"), ("unknown", "other"), ("", "other")],
)
def test_a_finish_has_a_reason_that_both_versions_know_and_the_usage(reason: str, said: str) -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "by": "openai"}
    (_, finish) = told(events.done(reason, usage=usage))
    counts = {"inputTokens": 1, "outputTokens": 2, "totalTokens": 3}
    assert finish == {"type": "finish", "finishReason": said, "messageMetadata": {"usage": counts}}


@pytest.mark.parametrize("event", [events.error("provider_failed", "It broke.", retryable=True), events.cancelled()])
def test_no_ending_is_without_a_finish(event: Event) -> None:
    """Or a transport that counts on it would ask again and again."""
    assert told(events.delta("text", "Half"), event)[-1]["type"] == "finish"


@pytest.mark.parametrize("notice", [Gone(), Gap(BEGINNING, BEGINNING)])
def test_no_loss_is_without_a_finish(notice: Gone | Gap) -> None:
    raw = AI_SDK.notice(notice, None)
    assert b'"error"' in raw
    assert b'"finish"' in raw


def test_a_message_has_the_id_of_its_stream_or_of_the_message_that_it_goes_on_with() -> None:
    start = Start("3f00", "small", "running", 0, None)
    assert b'"messageId":"3f00"' in AI_SDK.notice(start, None)
    assert b'"messageId":"m"' in AI_SDK.notice(start, Telling("m"))
    assert MESSAGE_ID == "ai_sdk_message_id"


def test_who_begins_a_message_anew_lets_go_of_what_it_has_of_it_and_of_no_other_step() -> None:
    """A message that goes on after its tools has their answers in the step before."""
    start = Start("3f00", "small", "running", 0, None)
    opening = b'data: {"type":"start","messageId":"%b"}\n\n'
    step = b'data: {"type":"start-step"}\n\n'
    assert AI_SDK_ANEW.notice(start, None) == opening % b"3f00" + b'data: {"type":"reset-step"}\n\n' + step
    assert AI_SDK_ANEW.notice(start, Telling("m")) == opening % b"m" + step


def test_version_6_cannot_say_that_an_answer_begins_anew() -> None:
    with pytest.raises(Unsayable):
        AI_SDK_6.notice(Reset("new_attempt", [], BEGINNING), None)
