"""OpenAI's Responses API as an upstream: what is sent, and what the frames that come back mean."""

from typing import Any

import pytest

from services.worker.providers.responses.dialect import RESPONSES
from shared.errors import (
    ProviderError,
    ProviderFailed,
    ProviderMalformed,
    ProviderPolicy,
    ProviderQuota,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTruncated,
    ProviderUnsupported,
)
from tests.unit.worker.providers.reading import frames_of, heard, sent

__all__ = ()

USER = {"role": "user", "content": "hi"}
USAGE = {
    "input_tokens": 4,
    "input_tokens_details": {"cached_tokens": 1},
    "output_tokens": 3,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 7,
}
KEPT = {"type": "reasoning", "id": "rs_1", "encrypted_content": "ZW5j"}


def frame(kind: str, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"type": f"response.{kind}", "output_index": index, "sequence_number": 1, **fields}


def text(delta: str, index: int = 0) -> dict[str, Any]:
    return frame("output_text.delta", index, item_id="m", content_index=0, delta=delta, obfuscation="xx")


def ended(status: str = "completed", *output: dict[str, Any], **fields: Any) -> dict[str, Any]:
    response = {"object": "response", "status": status, "output": list(output), "usage": USAGE, **fields}
    return {"type": f"response.{status}", "response": response}


def call(arguments: str, **fields: Any) -> dict[str, Any]:
    return {"type": "function_call", "id": "fc", "call_id": "c1", "name": "add", "arguments": arguments, **fields}


def thought(part: int, delta: str) -> dict[str, Any]:
    return frame("reasoning_summary_text.delta", 0, summary_index=part, delta=delta)


WHOLE = (
    frame("created", response={"status": "in_progress"}),
    {"type": "keepalive"},
    frame("output_item.added", 0, item={"type": "reasoning", "id": "rs_1", "summary": []}),
    thought(0, "Let me "),
    thought(0, "see."),
    thought(1, "Yes."),
    frame("output_item.done", 0, item={**KEPT, "summary": []}),
    frame("output_item.added", 1, item={"type": "message", "content": []}),
    text("Grüße", 1),
    text(" 👋", 1),
    frame("output_text.annotation.added", 1, annotation={"type": "url_citation", "url": "https://a.b"}),
    frame("output_item.done", 1, item={"type": "message", "content": [{"type": "output_text", "text": "Grüße 👋"}]}),
    frame("output_item.added", 2, item=call("")),
    frame("function_call_arguments.delta", 2, item_id="fc", delta='{"a":'),
    frame("function_call_arguments.delta", 2, item_id="fc", delta="1}"),
    frame("output_item.done", 2, item=call('{"a":1}')),
    # Without a delta, and without an opening.
    frame("output_item.added", 3, item=call("", call_id="c2")),
    frame("output_item.done", 3, item=call('{"a":2}', call_id="c2")),
    frame("output_item.done", 4, item=call('{"a":3}', call_id="c3")),
    ended("completed", call('{"a":1}')),
)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("after", [b"", b"data: [DONE]\n\n"])
def test_a_whole_answer_is_read(named: bool, after: bytes) -> None:
    answer = heard(RESPONSES, frames_of(*WHOLE, named=named) + after)
    assert (answer.text, answer.finish) == ("Grüße 👋", "tool_calls")
    assert answer.reasoning == "Let me see.\n\nYes."
    assert answer.data == [{"reasoning_items": [{**KEPT, "summary": []}]}]
    assert answer.annotations == [{"type": "url_citation", "url": "https://a.b"}]
    assert [(each["id"], each["name"], each["arguments"]) for each in answer.calls.values()] == [
        ("c1", "add", '{"a":1}'),
        ("c2", "add", '{"a":2}'),
        ("c3", "add", '{"a":3}'),
    ]
    assert answer.usage == {
        "input_tokens": 4,
        "output_tokens": 3,
        "total_tokens": 7,
        "reasoning_tokens": 2,
        "cached_tokens": 1,
    }
    assert answer.unknown == {}


@pytest.mark.parametrize(
    ("last", "ours"),
    [
        (ended(), "stop"),
        (ended("incomplete", incomplete_details={"reason": "max_output_tokens"}), "length"),
        (ended("incomplete", incomplete_details={"reason": "content_filter"}), "content_filter"),
        (ended("incomplete"), "unknown"),
    ],
)
def test_reasons_are_ours(last: dict[str, Any], ours: str) -> None:
    assert heard(RESPONSES, frames_of(text("x"), last)).finish == ours


def test_a_refusal_is_one() -> None:
    frames = (frame("refusal.delta", delta="I "), frame("refusal.delta", delta="can't"), ended())
    answer = heard(RESPONSES, frames_of(*frames))
    assert (answer.refusal, answer.text) == ("I can't", "")


def test_what_a_freeform_tool_gets_is_its_arguments() -> None:
    item = {"type": "custom_tool_call", "call_id": "c1", "name": "patch", "input": ""}
    frames = (
        frame("output_item.added", item=item),
        frame("custom_tool_call_input.delta", delta="*** Begin"),
        frame("output_item.done", item={**item, "input": "*** Begin"}),
        ended(),
    )
    assert heard(RESPONSES, frames_of(*frames)).calls == {0: {"id": "c1", "name": "patch", "arguments": "*** Begin"}}


def test_a_picture_is_a_file() -> None:
    item = {"type": "image_generation_call", "result": "QUJD", "output_format": "webp"}
    answer = heard(RESPONSES, frames_of(frame("output_item.done", item=item), ended()))
    assert answer.files == {0: "data:image/webp;base64,QUJD"}


def test_an_answer_that_did_not_stream_is_one() -> None:
    message = {"type": "message", "content": [{"type": "output_text", "text": "Hi", "annotations": []}]}
    response = ended("completed", {**KEPT, "summary": [{"text": "Hm."}]}, message, call("{}"))["response"]
    answer = heard(RESPONSES, frames_of(response)[6:], "application/json")
    assert (answer.reasoning, answer.text, answer.finish) == ("Hm.", "Hi", "tool_calls")
    assert answer.calls[0]["arguments"] == "{}"


def failing(code: str) -> dict[str, Any]:
    return {"type": "error", "code": code, "message": "no", "param": None}


@pytest.mark.parametrize(
    ("frames", "kind"),
    [
        ([], ProviderTruncated),
        ([failing("server_error")], ProviderFailed),
        # One failure, told twice.
        ([failing("rate_limit_exceeded"), ended("failed", error={"code": "rate_limit_exceeded"})], ProviderRateLimited),
        ([{"type": "error", "error": {"code": "insufficient_quota", "message": "no"}}], ProviderQuota),
        ([ended("failed", error={"code": "server_error", "message": "no"})], ProviderFailed),
        ([ended("failed", error={"code": "invalid_prompt", "message": "no"})], ProviderPolicy),
        ([ended("failed")], ProviderFailed),
        ([ended("cancelled")], ProviderFailed),
        ([{"error": {"message": "no", "code": "server_error"}}], ProviderFailed),
        ([frame("output_item.added", item=3)], ProviderMalformed),
        ([frame("output_text.delta", delta=3)], ProviderMalformed),
    ],
)
def test_what_goes_wrong_in_the_stream_is_told_after_what_came_before(
    frames: list[dict[str, Any]], kind: type[ProviderError]
) -> None:
    body = frames_of(text("Hi"), *frames)
    reader = RESPONSES.reader("text/event-stream")
    assert [event.value for event in reader.feed(body)] == [b"Hi"]
    with pytest.raises(kind):
        reader.finish()
    with pytest.raises(kind):
        heard(RESPONSES, body)


# Requests


def test_a_request_is_translated() -> None:
    messages = [
        {"role": "developer", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See"},
                {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"}},
            ],
        },
        {
            "role": "assistant",
            "content": [
                {"type": "reasoning", "text": "hm", "provider_data": {"reasoning_items": [KEPT]}},
                {"type": "text", "text": "I call."},
            ],
            "tool_calls": [{"id": "c1", "function": {"name": "add", "arguments": '{"a":1}'}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "2"},
    ]
    body = sent(
        RESPONSES,
        messages,
        tools=[{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}],
        tool_choice={"type": "function", "function": {"name": "add"}},
        max_tokens=7,
        temperature=0.5,
        prompt_cache_key="k",
        reasoning_effort="low",
        verbosity="low",
        response_format={"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}},
    )
    assert body == {
        "model": "m",
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "stream_options": {"include_obfuscation": False},
        "input": [
            {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "Be brief."}]},
            {
                "type": "message",
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "See"},
                    {"type": "input_image", "image_url": "https://example.com/a.png"},
                    {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"},
                ],
            },
            {**KEPT, "summary": []},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I call."}]},
            {"type": "function_call", "call_id": "c1", "name": "add", "arguments": '{"a":1}'},
            {"type": "function_call_output", "call_id": "c1", "output": "2"},
        ],
        "tools": [{"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": False}],
        "tool_choice": {"type": "function", "name": "add"},
        "max_output_tokens": 7,
        "temperature": 0.5,
        "prompt_cache_key": "k",
        "reasoning": {"effort": "low", "summary": "auto"},
        "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "a", "schema": {"type": "object"}}},
    }


@pytest.mark.parametrize(
    ("messages", "options", "kind"),
    [
        ([USER], {"stop": "END"}, ProviderUnsupported),
        ([USER], {"frequency_penalty": 1}, ProviderUnsupported),
        ([USER], {"tool_choice": "sometimes", "tools": [{"function": {"name": "a"}}]}, ProviderUnsupported),
        (
            [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "QQ", "format": "wav"}}]}],
            {},
            ProviderUnsupported,
        ),
        ([{"role": "user", "content": [{"type": "image_url"}]}], {}, ProviderRejected),
    ],
)
def test_bad_ones_are_refused_before_anything_is_sent(
    messages: list[dict[str, Any]], options: dict[str, Any], kind: type[ProviderError]
) -> None:
    with pytest.raises(kind):
        sent(RESPONSES, messages, **options)
