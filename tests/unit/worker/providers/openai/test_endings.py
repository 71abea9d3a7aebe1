"""Whether an answer is whole: what broke off is a failure, and nothing that was said is lost."""

import json
from typing import Any

import pytest

from shared.errors import (
    ProviderAuth,
    ProviderError,
    ProviderFailed,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTruncated,
)
from tests.unit.worker.providers.openai.frames import DONE, STOP, D, answer_of, frame, tool

__all__ = ()

TEXT = D(content="a")


@pytest.mark.parametrize(
    "reason",
    [
        *("insufficient_system_resource", "network_error", "abort", "error", "engine_overloaded", "ERROR", "aborted"),
        *("server_error", "interrupted", "malformed_function_call", "function_call_filter: malformed_function_call"),
    ],
)
def test_reasons_that_mean_broken_off(reason: str) -> None:
    answer = answer_of(TEXT, D(reason), DONE)
    assert (answer.texts, answer.end) == ([("text", "a")], ProviderFailed)
    assert answer_of(D(reason), DONE).end is ProviderFailed


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ({"error": {"code": 500, "message": "x"}}, ProviderFailed),
        ({"error": {"code": 429}}, ProviderRateLimited),
        ({"error": "text"}, ProviderFailed),
        ([{"error": {"code": 401}}], ProviderAuth),
        ({"object": "error", "message": "x", "type": "BadRequestError", "code": 400}, ProviderRejected),
        ({"message": "x", "code": "rate_limit_exceeded"}, ProviderRateLimited),
        ({"detail": "x"}, ProviderFailed),
        ({"type": "error", "error": {"type": "rate_limit_error"}}, ProviderRateLimited),
        ({"type": "error", "message": "x"}, ProviderFailed),
        ({"errors": [{"code": 429}]}, ProviderRateLimited),
        ({"base_resp": {"status_code": 1002, "status_msg": "x"}, "choices": None}, ProviderFailed),
        ({"choices": [], "x_groq": {"error": "over_capacity"}}, ProviderFailed),
        ({"choices": [{"index": 0, "delta": {}, "error": {"code": 429}}]}, ProviderRateLimited),
    ],
)
@pytest.mark.parametrize("before", [(), (TEXT,), (TEXT, D("length"))], ids=["first", "late", "after_reason"])
def test_an_error_in_any_shape(error: Any, kind: type[ProviderError], before: tuple[bytes, ...]) -> None:
    answer = answer_of(*before, frame(error), DONE)
    assert answer.end is kind
    assert answer.texts == ([("text", "a")] if before else [])


def test_an_error_may_come_without_the_word_data() -> None:
    for error in (
        b'error: {"error":{"code":429}}\n\n',
        b'{"error":{"code":429}}\n\n',
        b'{\n "error": {"code": 429}\n}\n\n',
    ):
        assert answer_of(TEXT, error, DONE).end is ProviderRateLimited
        assert answer_of(TEXT, error.rstrip()).end is ProviderRateLimited


def test_what_is_said_beside_an_error_is_not_lost() -> None:
    choice = {"index": 0, "delta": {"content": "b"}, "finish_reason": "error"}
    answer = answer_of(TEXT, frame({"error": {"code": 429}, "choices": [choice]}), DONE)
    assert (answer.texts, answer.end) == ([("text", "ab")], ProviderRateLimited)
    odd = {"index": 0, "delta": {"content": 5}}
    assert answer_of(TEXT, frame({"error": {"code": 429}, "choices": [odd]}), DONE).end is ProviderRateLimited


def test_an_error_event_need_not_be_json() -> None:
    assert answer_of(TEXT, b"event: error\ndata: overloaded\n\n", DONE).end is ProviderFailed


def test_done_and_nothing_else() -> None:
    assert answer_of(DONE).end is ProviderTruncated
    assert answer_of(D(role="assistant", content=""), DONE).end is ProviderTruncated
    assert answer_of(TEXT, DONE).end == "unknown"
    assert answer_of(D(reasoning="a"), DONE).end == "unknown"
    assert answer_of(tool({"index": 0, "id": "a", "function": {"name": "f"}}), DONE).end == "unknown"
    assert answer_of(STOP).end == "stop"


@pytest.mark.parametrize("cut", [None, 1, 1000])
def test_a_reason_with_every_chunk(cut: int | None) -> None:
    frames = [D("stop", content=text) for text in ("a", "b", "c")]
    assert answer_of(*frames, DONE, cut=cut).texts == [("text", "abc")]
    assert answer_of(*frames, cut=cut).texts == [("text", "abc")]
    assert answer_of(*frames, cut=cut).end == "stop"


def test_deltas_after_the_reason() -> None:
    answer = answer_of(
        TEXT, D("stop"), D(content="b"), tool({"index": 0, "function": {"name": "f", "arguments": "{}"}})
    )
    assert answer.texts == [("text", "ab")]
    assert answer.calls == [("call_0", "f", "{}")]
    assert answer.end == "stop"


def test_the_last_frame_may_lack_its_empty_line() -> None:
    assert answer_of(TEXT, D("stop").rstrip()).end == "stop"
    assert answer_of(TEXT, D(content="b").rstrip(), DONE).end is ProviderMalformed
    answer = answer_of(D(content="b", role="x").rstrip())
    assert (answer.texts, answer.end) == ([("text", "b")], ProviderTruncated)
    assert answer_of(TEXT, b"data: [DONE]").end == "unknown"
    assert answer_of(TEXT, b'data: {"choices":[{"index":0,"delta":{"content":"b').end is ProviderTruncated
    assert answer_of(TEXT, D("stop"), b'data: {"choices":').end == "stop"


MESSAGE = {"role": "assistant", "content": "a", "reasoning_content": "r"}
CALL = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
WHOLE = {
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {**MESSAGE, "tool_calls": [CALL]}, "finish_reason": "tool_calls"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
}


@pytest.mark.parametrize("is_declared", [True, False])
@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("cut", [None, 1])
def test_a_whole_completion_in_place_of_a_stream(is_declared: bool, indent: int | None, cut: int | None) -> None:
    answer = answer_of(json.dumps(WHOLE, indent=indent).encode(), cut=cut, is_declared=is_declared)
    assert answer.texts == [("reasoning", "r"), ("text", "a")]
    assert answer.calls == [("c", "f", "{}")]
    assert answer.end == "tool_calls"
    assert answer.fields("usage") == [{"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}]


def test_a_whole_completion_inside_a_stream() -> None:
    answer = answer_of(frame(WHOLE), DONE)
    assert (answer.texts, answer.end) == ([("reasoning", "r"), ("text", "a")], "tool_calls")


def test_a_message_that_repeats_what_was_said_is_not_said_again() -> None:
    """Perplexity's last object, and in each chunk beside its delta."""
    both = {"choices": [{"index": 0, "delta": {"content": "a"}, "message": {"content": "a"}}]}
    last = {
        "object": "chat.completion.done",
        "choices": [{"index": 0, "message": {"content": "a"}, "finish_reason": "stop"}],
    }
    assert answer_of(frame(both), frame(last)).texts == [("text", "a")]


@pytest.mark.parametrize("cut", [None, 1, 3])
def test_a_stream_that_does_not_say_it_is_one(cut: int | None) -> None:
    for start in (b"", b": hello\n\n", b"\n\n", "\ufeff".encode(), b"event: message\n", b"retry: 5\n\n"):
        answer = answer_of(start + TEXT, STOP, cut=cut, is_declared=False)
        assert (answer.texts, answer.end) == ([("text", "a")], "stop"), start


@pytest.mark.parametrize("body", [b"<html>", b"Bad Gateway", b"  \n<!doctype html>", b"{}", b"[]", b"[1]", b'"x"'])
def test_what_is_no_answer_is_refused(body: bytes) -> None:
    assert answer_of(body, is_declared=False).end is ProviderMalformed


def test_a_document_that_is_an_error() -> None:
    assert answer_of(b'[{"error":{"code":429}}]', is_declared=False).end is ProviderRateLimited
    assert answer_of(b'{"error":"x"}', is_declared=False).end is ProviderFailed
    assert answer_of(b'{"error":', is_declared=False).end in {ProviderMalformed, ProviderTruncated}


def test_one_json_chunk_a_line() -> None:
    lines = b"".join(each.removeprefix(b"data: ").replace(b"\n\n", b"\n") for each in (TEXT, D("stop", content="b")))
    answer = answer_of(lines, is_declared=False)
    assert (answer.texts, answer.end) == ([("text", "ab")], "stop")
