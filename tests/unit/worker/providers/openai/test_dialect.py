"""Chunks of a chat completion to events: every field, every wrong shape, and what is known of real providers."""

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.providers.openai.chunks import MAX_LINE_BYTES, ChunkReader
from services.worker.providers.openai.errors import MAX_RETRY_AFTER_S, error_of_object, error_of_status, retry_after_s
from services.worker.providers.openai.request import OPTIONS, request_body
from services.worker.providers.openai.tools import MAX_TOOL_CALLS
from services.worker.providers.provider import CompletionRequest, Outcome
from shared.errors import (
    ProviderAuth,
    ProviderError,
    ProviderFailed,
    ProviderMalformed,
    ProviderModelMissing,
    ProviderMoved,
    ProviderQuota,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTooLong,
    ProviderTruncated,
)
from shared.log.events import MAX_EVENT_BYTES, Event, delta, tool_call, usage
from tests.support.script import Script, expected, steps

__all__ = ()

DONE = b"data: [DONE]\n\n"


def frame(chunk: object) -> bytes:
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def chunk(fields: dict[str, Any] | None = None, finish_reason: object = None, **rest: Any) -> bytes:
    choice = {"index": 0, "delta": fields or {}, "finish_reason": finish_reason}
    return frame({"id": "x", "object": "chat.completion.chunk", "choices": [choice], "usage": None, **rest})


def read(*frames: bytes) -> list[Event]:
    return ChunkReader().feed(b"".join(frames))


def whole(*frames: bytes) -> list[Event]:
    """The events of a whole answer."""
    reader = ChunkReader()
    events = reader.feed(b"".join([*frames, STOP, DONE]))
    return events + reader.finish()


def ended(*frames: bytes) -> Outcome:
    reader = ChunkReader()
    reader.feed(b"".join(frames))
    reader.finish()
    return reader.outcome


STOP = chunk(finish_reason="stop")
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}


# Deltas


def test_each_kind_of_delta() -> None:
    everything = {"role": "assistant", "content": "b", "reasoning_content": "a", "refusal": "c"}
    assert read(chunk(everything)) == [delta("reasoning", "a"), delta("text", "b"), delta("refusal", "c")]
    assert read(chunk({"reasoning": "a", "content": None})) == [delta("reasoning", "a")]
    assert read(chunk({"reasoning": "a", "reasoning_content": "a"})) == [delta("reasoning", "a")]


@pytest.mark.parametrize(
    "fields", [{}, {"role": "assistant"}, {"content": ""}, {"content": None}, {"tool_calls": []}, {"unknown": 1}]
)
def test_a_delta_that_says_nothing_is_dropped(fields: dict[str, Any]) -> None:
    assert read(chunk(fields)) == []


def test_the_short_way_and_the_long_way_agree() -> None:
    """A chunk of plain text is recognised early; an unknown field beside the text sends it the long way."""
    texts = ["a", "é\r\n", "[DONE]", "\u2028", "\x00", "x" * (MAX_EVENT_BYTES * 2 + 1), "漢" * MAX_EVENT_BYTES]
    for text in texts:
        assert read(chunk({"content": text})) == read(chunk({"content": text, "unknown": 1}))


def test_only_the_first_choice_is_heard() -> None:
    other = {"index": 1, "delta": {"content": "other"}, "finish_reason": "stop"}
    first = {"index": 0, "delta": {"content": "first"}, "finish_reason": None}
    reader = ChunkReader()
    assert reader.feed(frame({"choices": [other, first]})) == [delta("text", "first")]
    assert reader.feed(frame({"choices": [other]})) == []
    assert reader.finish_reason is None


def test_chunks_without_choices_are_no_content() -> None:
    assert read(frame({"choices": []}), frame({"choices": None}), frame({}), frame({"object": "ping"})) == []


def test_lone_surrogates_become_one_replacement_each() -> None:
    assert whole(chunk({"content": "\ude00a\ud83db"})) == [delta("text", "\ufffda\ufffdb")]
    assert whole(chunk({"content": "a\ud83d"})) == [delta("text", "a"), delta("text", "\ufffd")]
    assert read(b'data: {"choices":[{"index":0,"delta":{"content":"\\ud83d\\ude00"}}]}\n\n') == [delta("text", "😀")]


def test_a_long_delta_is_cut_and_nothing_is_lost() -> None:
    text = "漢" * (10 * 1024 * 1024 // 3)
    events = read(b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}) + b"\n\n")
    assert max(event.size for event in events) <= MAX_EVENT_BYTES
    assert b"".join(event.value for event in events).decode() == text


def test_a_line_beyond_the_cap_is_refused() -> None:
    with pytest.raises(ProviderMalformed):
        read(chunk({"content": "x" * MAX_LINE_BYTES}))


@given(st.lists(st.text(st.characters()), max_size=8), st.integers(1, 40))
def test_any_text_arrives_as_it_was_sent(texts: list[str], size: int) -> None:
    stream = b"".join(chunk({"content": text}) for text in texts) + STOP + DONE
    reader = ChunkReader()
    parts = [stream[i : i + size] for i in range(0, len(stream), size)]
    events = [event for part in parts for event in reader.feed(part)]
    sent = "".join(texts).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    assert b"".join(event.value for event in events).decode() == sent
    assert all(event.size for event in events)


# Tool calls


# What is the same but for its text


def one_by_one(frames: Sequence[bytes]) -> list[Event]:
    reader = ChunkReader()
    return [event for each in frames for event in reader.feed(each)]


def parsed_one_by_one(frames: Sequence[bytes]) -> list[Event]:
    """The same the long way: with a second member in each delta no chunk is a usual one."""
    assert all(b'"delta": {' in each or b'"delta":{' in each for each in frames)
    return one_by_one([re.sub(rb'"delta": ?\{', b'"delta":{"unknown":1,', each, count=1) for each in frames])


# The second half is a chunk to itself, its own quotes and all.
TRICKY = [
    "a",
    '"',
    "\\",
    ":",
    ",",
    "x",
    '","',
    '{"content":"a"}',
    "~",
    "\n",
    "\x7f",
    "\u2028",
    "é",
    "\ud800",
    "content",
    "",
]


@given(
    st.lists(st.text(st.characters()) | st.sampled_from(TRICKY), min_size=2, max_size=12),
    st.sampled_from(["content", "reasoning", "refusal"]),
    st.sampled_from([(",", ":"), (", ", ": ")]),
    st.booleans(),
    st.text(max_size=3) | st.sampled_from(TRICKY),
)
def test_chunks_that_differ_only_in_their_text(
    texts: list[str], name: str, separators: tuple[str, str], is_ascii: bool, ident: str
) -> None:
    frames = [
        b"data: "
        + json.dumps(
            {"id": ident, "choices": [{"index": 0, "delta": {name: text}, "finish_reason": None}], "created": 1},
            ensure_ascii=is_ascii,
            separators=separators,
        ).encode(errors="replace")
        + b"\n\n"
        for text in texts
    ]
    assert one_by_one(frames) == parsed_one_by_one(frames)


@given(st.lists(st.binary(min_size=1, max_size=3), min_size=1, max_size=4))
def test_bytes_that_are_no_text_are_never_taken_for_it(pieces: list[bytes]) -> None:
    usual = chunk({"content": "abc"})
    for piece in pieces:
        reader = ChunkReader()
        assert reader.feed(usual) == [delta("text", "abc")]
        odd = usual.replace(b"abc", piece)
        assert _told(reader, odd) == _told(ChunkReader(), odd)


def _told(reader: ChunkReader, data: bytes) -> object:
    try:
        return reader.feed(data)
    except ProviderError as error:
        return type(error)


def test_a_text_that_occurs_twice_is_found_in_its_place() -> None:
    frames = [chunk({"content": text}, model="abc") for text in ("abc", "abd", "abc", "x")]
    assert one_by_one(frames) == parsed_one_by_one(frames)


def test_a_usual_chunk_is_not_usual_after_the_end_or_inside_another() -> None:
    usual = chunk({"content": "abc"})
    reader = ChunkReader()
    assert len(reader.feed(usual) + reader.feed(usual)) == 2
    assert reader.feed(b"data: {") == []
    with pytest.raises(ProviderMalformed):
        reader.feed(usual)
    reader = ChunkReader()
    reader.feed(usual)
    reader.feed(STOP)
    assert reader.feed(usual) == [delta("text", "abc")]
    reader = ChunkReader()
    reader.feed(usual)
    reader.feed(DONE)
    assert reader.feed(usual) == []
    reader = ChunkReader()
    reader.feed(usual)
    reader.feed(b"event: error\n")
    with pytest.raises(ProviderError):
        reader.feed(usual)


def test_a_usual_chunk_may_not_be_longer_than_any_other() -> None:
    usual = chunk({"content": "a"})
    reader = ChunkReader(max_line_bytes=len(usual))
    assert reader.feed(usual) == [delta("text", "a")]
    with pytest.raises(ProviderMalformed):
        reader.feed(chunk({"content": "a" * 20}))


def call(index: object = 0, **fields: Any) -> bytes:
    function = {name: fields.pop(name) for name in ("name", "arguments") if name in fields}
    return chunk({"tool_calls": [{"index": index, **fields, **({"function": function} if function else {})}]})


def test_a_call_opens_once_and_its_arguments_follow() -> None:
    events = read(
        call(id="call_a", type="function", name="search", arguments=""),
        call(arguments='{"q":'),
        call(id="call_a", name="search", arguments="1}"),
        call(arguments=""),
        call(),
    )
    opened = tool_call(0, "", call_id="call_a", name="search")
    assert events == [opened, tool_call(0, '{"q":'), tool_call(0, "1}")]


def test_calls_in_parallel() -> None:
    events = read(
        call(0, id="a", name="x"),
        call(1, id="b", name="y", arguments="{"),
        call(0, arguments="1"),
        call(1, arguments="}"),
    )
    assert [event.fields()["index"] for event in events] == [0, 1, 0, 1]
    assert [event.size for event in events] == [1, 2, 1, 1]
    assert [event.fields().get("name") for event in events] == ["x", "y", None, None]


@pytest.mark.parametrize(
    ("fields", "opened"),
    [
        ({"name": "f"}, [tool_call(2, "", call_id="call_2", name="f")]),
        ({"id": "z"}, []),
        ({"arguments": "{"}, [tool_call(2, "", call_id="call_2", name=""), tool_call(2, "{")]),
    ],
)
def test_what_is_missing_when_a_call_opens_is_made_up(fields: dict[str, Any], opened: list[Event]) -> None:
    """But not before it is sure that it does not come; and an id alone is no call."""
    assert read(call(2, **fields)) == []
    assert whole(call(2, **fields)) == opened


def test_without_an_index_the_id_tells_calls_apart() -> None:
    events = read(
        call(None, id="a", name="f", arguments="1"),
        call(None, id="b", name="f", arguments="2"),
        call(None, arguments="3"),
        call(None, id="a", arguments="4"),
    )
    assert [event.fields()["index"] for event in events] == [0, 1, 1, 0]


def test_long_arguments_are_cut_and_the_call_opens_once() -> None:
    arguments = "é" * MAX_EVENT_BYTES
    events = read(call(id="a", name="f", arguments=arguments))
    assert "".join(event.fields()["arguments_delta"] for event in events) == arguments
    assert ["id" in event.fields() for event in events] == [True] + [False] * (len(events) - 1)


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_calls": ["x"]},
        {"tool_calls": [{"index": -1, "id": "a"}]},
        {"tool_calls": [{"index": MAX_TOOL_CALLS, "id": "a"}]},
        {"tool_calls": [{"index": True, "id": "a"}]},
        {"tool_calls": [{"index": 0, "id": "a" * 100_000}]},
        {"tool_calls": [{"index": 0, "function": "f"}]},
        {"content": 5},
        {"content": [5]},
        {"content": [{"type": 5}]},
        {"content": [[[[[["x"]]]]]]},
        {"tool_calls": "x"},
    ],
)
def test_wrong_types_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(ProviderMalformed):
        read(chunk(fields))


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"nonsense",
        b"[]",
        b'"text"',
        b"5",
        b'{"choices":5}',
        b'{"choices":["x"]}',
        b'{"choices":[{"index":"0"}]}',
        b'{"choices":[{"delta":"x"}]}',
        b'{"choices":[{"delta":[]}]}',
        b'{"choices":[{"delta":{},"finish_reason":1}]}',
        b'{"choices":[{"delta":{"content":"\x00"}}]}',
        b'"\\u0041"' + b"[" * 100_000,
    ],
)
def test_what_is_no_chunk_is_refused(data: bytes) -> None:
    with pytest.raises(ProviderMalformed):
        read(b"data: " + data + b"\n\n")


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: (
            st.lists(inner)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "choices",
                        "delta",
                        "content",
                        "tool_calls",
                        "function",
                        "index",
                        "error",
                        "usage",
                        "finish_reason",
                        "id",
                    ]
                ),
                inner,
            )
        ),
    )
)
def test_any_json_is_read_or_refused_with_a_provider_error(value: object) -> None:
    reader = ChunkReader()
    try:
        reader.feed(frame(value))
        reader.finish()
    except ProviderError as error:
        assert error.message == type(error).text  # noqa: PT017 - both endings are right, and this is about one of them


# Endings


def test_an_ordinary_end() -> None:
    assert ended(chunk({"content": "a"}), STOP, DONE) == Outcome("stop", None)
    assert ended(chunk({"content": "a"}, "length"), DONE) == Outcome("length", None)


def test_a_finish_reason_is_enough_but_done_alone_says_nothing() -> None:
    assert ended(STOP) == Outcome("stop", None)
    assert ended(chunk({"content": "a"}), DONE) == Outcome("unknown", None)
    with pytest.raises(ProviderTruncated):
        ended(chunk({"content": "a"}))
    with pytest.raises(ProviderTruncated):
        ended()


def test_an_empty_reason_with_every_chunk_is_none() -> None:
    reader = ChunkReader()
    assert len(reader.feed(chunk({"content": "a"}, "") + chunk({"content": "b"}, ""))) == 2
    assert reader.finish_reason is None


@pytest.mark.parametrize(
    ("said", "reason"),
    [("STOP", "stop"), ("tool_calls", "tool_calls"), ("<b>\ud800", "unknown"), ("x" * 65, "unknown")],
)
def test_a_reason_is_a_plain_word(said: str, reason: str) -> None:
    assert ended(chunk(finish_reason=said)).finish_reason == reason


def test_what_follows_the_end_is_not_heard() -> None:
    """The end is `[DONE]`; a finish reason is none."""
    reader = ChunkReader()
    late = chunk({"content": "late"}, "length")
    assert reader.feed(STOP + late + DONE + DONE + late + b"data: nonsense\n\n") == [delta("text", "late")]
    assert reader.feed(late) == []
    assert reader.finish() == []
    assert reader.outcome == Outcome("length", None)


def test_usage_is_told_once_at_the_end() -> None:
    counts = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
    reader = ChunkReader()
    early = chunk({"content": "a"}, usage={**USAGE, "completion_tokens": 1})
    assert reader.feed(early + STOP) == [delta("text", "a")]
    assert reader.usage == {"input_tokens": 3, "output_tokens": 1, "total_tokens": 8}
    assert reader.feed(frame({"choices": [], "usage": USAGE}) + DONE) == [usage(counts)]
    assert reader.finish() == []
    assert reader.outcome.usage == counts


def test_usage_is_told_when_the_bytes_end_without_done() -> None:
    reader = ChunkReader()
    reader.feed(STOP + frame({"choices": [], "usage": USAGE}))
    assert [event.kind for event in reader.finish()] == ["usage"]
    assert reader.finish() == []


def test_usage_details() -> None:
    details = {"completion_tokens_details": {"reasoning_tokens": 4}, "prompt_tokens_details": {"cached_tokens": 2}}
    outcome = ended(STOP, frame({"choices": [], "usage": USAGE | details}), DONE)
    assert outcome.usage == {
        "input_tokens": 3,
        "output_tokens": 5,
        "total_tokens": 8,
        "reasoning_tokens": 4,
        "cached_tokens": 2,
    }


@pytest.mark.parametrize("count", [-1, 1.5, "3", True, None, [], 10**20])
def test_a_count_that_is_none_does_not_cost_the_answer(count: object) -> None:
    broken = {"prompt_tokens": 3, "completion_tokens": count, "total_tokens": count, "prompt_tokens_details": count}
    assert ended(STOP, frame({"choices": [], "usage": broken}), DONE).usage == {"input_tokens": 3}


# Errors


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"code": 401}, ProviderAuth),
        ({"code": "401"}, ProviderAuth),
        ({"code": "invalid_api_key", "type": "invalid_request_error"}, ProviderAuth),
        ({"code": 429, "message": "slow down"}, ProviderRateLimited),
        ({"code": None, "type": "tokens"}, ProviderRateLimited),
        ({"code": "insufficient_quota"}, ProviderQuota),
        ({"code": 400, "type": "invalid_request_error"}, ProviderRejected),
        ({"type": "exceed_context_size_error"}, ProviderTooLong),
        ({"code": 502}, ProviderFailed),
        ({"code": "server_error"}, ProviderFailed),
        ({"code": ["x"], "type": {}}, ProviderFailed),
        ({"code": "²³¹"}, ProviderFailed),
        ("a mere string", ProviderFailed),
    ],
)
def test_an_error_object_is_understood(error: object, kind: type[ProviderError]) -> None:
    assert type(error_of_object(error)) is kind
    with pytest.raises(kind):
        read(frame({"error": error, "choices": [{"index": 0, "delta": {"content": ""}, "finish_reason": "error"}]}))


def test_an_error_may_stand_in_the_choice_the_reason_or_the_name_of_the_event() -> None:
    with pytest.raises(ProviderRateLimited):
        read(frame({"choices": [{"index": 0, "error": {"code": 429}, "delta": {}}]}))
    with pytest.raises(ProviderFailed):
        read(chunk(finish_reason="error"))
    with pytest.raises(ProviderRateLimited):
        read(b'event: error\ndata: {"type":"rate_limit_error"}\n\n')


def test_what_came_before_an_error_comes_first() -> None:
    reader = ChunkReader()
    assert reader.feed(chunk({"content": "a"}) + frame({"error": {"code": 500}}) + DONE) == [delta("text", "a")]
    for _ in range(2):
        with pytest.raises(ProviderFailed):
            reader.feed(b"")
    with pytest.raises(ProviderFailed):
        reader.finish()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, ProviderRejected),
        (401, ProviderAuth),
        (403, ProviderAuth),
        (404, ProviderModelMissing),
        (413, ProviderRejected),
        (422, ProviderRejected),
        (429, ProviderRateLimited),
        (302, ProviderMoved),
        (418, ProviderFailed),
        (500, ProviderFailed),
        (529, ProviderFailed),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[ProviderError]) -> None:
    assert type(error_of_status(status, {})) is kind


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": "7"}, 7),
        ({"Retry-After": " 7 "}, 7),
        ({"Retry-After": "1.5"}, 1.5),
        ({"retry-after-ms": "250", "Retry-After": "7"}, 0.25),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 GMT"}, 30),
        ({"Retry-After": "Wed, 21 Oct 2026 07:28:30 -0000"}, 30),
        ({"Retry-After": "Wed, 21 Oct 2020 07:28:00 GMT"}, None),
        ({"Retry-After": "999999999"}, MAX_RETRY_AFTER_S),
        ({"Retry-After": "1" * 500}, MAX_RETRY_AFTER_S),
        ({"Retry-After": "Wed, 21 Oct 9999 07:28:00 GMT"}, MAX_RETRY_AFTER_S),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": "inf"}, None),
        ({"Retry-After": "nan"}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "٣"}, None),
        ({"Retry-After": "."}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "Wed, 99 Oct 99999999999 07:28:00 GMT"}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, now=datetime(2026, 10, 21, 7, 28, 0, tzinfo=UTC)) == seconds


# Requests


def test_the_request_carries_what_is_known_and_nothing_else() -> None:
    options = {
        "temperature": 0.2,
        "tools": [{"type": "function"}],
        "n": 5,
        "stream": False,
        "metadata": {},
        "api_base": "x",
    }
    body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}], **options})
    sent = orjson.loads(request_body(CompletionRequest.parse(body), include_usage=True))
    assert sent == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "temperature": 0.2,
        "tools": [{"type": "function"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert not {"n", "stream", "model", "messages", "stream_options"} & OPTIONS


def test_usage_is_asked_for_only_where_it_is_understood() -> None:
    assert "stream_options" not in orjson.loads(request_body(CompletionRequest("m", []), include_usage=False))


def test_a_request_shows_no_prompt() -> None:
    assert "secret" not in repr(CompletionRequest("m", [{"role": "user", "content": "secret"}], {"stop": "secret"}))


# The script that other tests rely on


@pytest.mark.parametrize(
    "script", [Script("a", chunks=60), Script("b", chunks=61, kinds="mixed"), Script("c", chunks=9, surrogates=True)]
)
def test_a_script_is_the_same_each_time_and_says_what_it_expects(script: Script) -> None:
    assert Script.parse(script.prompt()) == script
    assert list(steps(script)) == list(steps(script))
    assert list(steps(script, attempt=1)) == list(steps(script))
    assert all(step.text for step in steps(script))
    kinds = ["reasoning", "text", "tool_call"] if script.kinds == "mixed" else ["text"]
    assert [kind for kind, _ in expected(script)] == kinds


def test_the_arguments_of_a_scripted_call_are_json() -> None:
    assert json.loads(dict(expected(Script("k", chunks=90, kinds="mixed")))["tool_call"])["limit"] == 30


@given(st.integers(0, 500))
def test_a_script_goes_on_where_it_was_cut(place: int) -> None:
    script = Script("k", chunks=20)
    whole = "".join(step.text for step in steps(script))
    said = whole[:place]
    assert said + "".join(step.text for step in steps(script, said=said)) == whole
