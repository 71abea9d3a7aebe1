"""Anthropic's Messages API: what is sent, and what the frames that come back mean."""

from typing import Any

import pytest

from services.worker.providers.anthropic.dialect import ANTHROPIC
from services.worker.providers.provider import CompletionRequest
from shared.errors import (
    ProviderError,
    ProviderFailed,
    ProviderMalformed,
    ProviderQuota,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTruncated,
    ProviderUnsupported,
)
from tests.unit.worker.providers.reading import entry, frames_of, heard, sent

__all__ = ()

USER = {"role": "user", "content": "hi"}
USAGE = {"input_tokens": 3, "cache_creation_input_tokens": 4, "cache_read_input_tokens": 5, "output_tokens": 1}
START = {"type": "message_start", "message": {"id": "msg_1", "role": "assistant", "content": [], "usage": USAGE}}
STOP = {"type": "message_stop"}


def begun(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def more(index: int, **delta: Any) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": delta}


def end(reason: str | None = "end_turn", **usage: int) -> dict[str, Any]:
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 9, **usage}}


def closed(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


THOUGHT = [
    START,
    begun(0, type="thinking", thinking="", signature=""),
    {"type": "ping"},
    more(0, type="thinking_delta", thinking="Let me "),
    more(0, type="thinking_delta", thinking="see."),
    more(0, type="signature_delta", signature="c2ln"),
    closed(0),
    begun(1, type="redacted_thinking", data="cmVk"),
    closed(1),
    begun(2, type="text", text=""),
    more(2, type="text_delta", text="Grüße 👋"),
    more(2, type="text_delta", text=", all"),
    more(2, type="citations_delta", citation={"type": "char_location", "cited_text": "x"}),
    closed(2),
    begun(3, type="server_tool_use", id="srv", name="web_search", input={}),
    more(3, type="input_json_delta", partial_json='{"query":"x"}'),
    closed(3),
    begun(4, type="web_search_tool_result", tool_use_id="srv", content=[]),
    closed(4),
    begun(5, type="tool_use", id="toolu_1", name="add", input={}),
    more(5, type="input_json_delta", partial_json=""),
    more(5, type="input_json_delta", partial_json='{"a":'),
    more(5, type="input_json_delta", partial_json="1}"),
    closed(5),
    begun(6, type="tool_use", id="toolu_2", name="now", input={}),
    closed(6),
    end("tool_use", input_tokens=3),
    STOP,
]


@pytest.mark.parametrize("named", [True, False])
def test_a_whole_answer_is_read(named: bool) -> None:
    answer = heard(ANTHROPIC, frames_of(*THOUGHT, named=named))
    assert (answer.reasoning, answer.text, answer.finish) == ("Let me see.", "Grüße 👋, all", "tool_calls")
    assert answer.data == [{"type": "thinking", "signature": "c2ln"}, {"type": "redacted_thinking", "data": "cmVk"}]
    assert answer.annotations == [{"type": "char_location", "cited_text": "x"}]
    assert answer.calls == {
        0: {"id": "toolu_1", "name": "add", "arguments": '{"a":1}'},
        1: {"id": "toolu_2", "name": "now", "arguments": ""},
    }
    assert answer.usage == {"input_tokens": 12, "output_tokens": 9, "total_tokens": 21, "cached_tokens": 5}
    assert answer.unknown == {}


@pytest.mark.parametrize(
    ("reason", "ours"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("compaction", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "pause_turn"),
        ("something_new", "unknown"),
    ],
)
def test_reasons_are_ours(reason: str, ours: str) -> None:
    frames = (START, begun(0, type="text", text=""), more(0, type="text_delta", text="x"), end(reason), STOP)
    assert heard(ANTHROPIC, frames_of(*frames)).finish == ours


def test_what_is_new_is_counted_and_costs_nothing() -> None:
    frames = (
        START,
        begun(0, type="hologram"),
        more(0, type="hologram_delta", hologram="x"),
        {"type": "weather"},
        begun(1, type="text", text="Hi"),
        end(),
        STOP,
    )
    answer = heard(ANTHROPIC, frames_of(*frames))
    assert (answer.text, answer.unknown) == ("Hi", {"content_part": 1, "delta_field": 1, "chunk": 1})


def test_a_message_that_did_not_stream_is_an_answer() -> None:
    content = [{"type": "text", "text": "Hi"}, {"type": "tool_use", "id": "t", "name": "add", "input": {"a": 1}}]
    message = {"type": "message", "content": content, "stop_reason": "tool_use", "usage": USAGE}
    answer = heard(ANTHROPIC, frames_of(message, named=False)[6:], "application/json")
    assert (answer.text, answer.finish) == ("Hi", "tool_calls")
    assert answer.calls == {0: {"id": "t", "name": "add", "arguments": '{"a":1}'}}


def failing(kind: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": "no"}}


@pytest.mark.parametrize(
    ("frames", "kind"),
    [
        ([failing("overloaded_error")], ProviderFailed),
        ([failing("rate_limit_error")], ProviderRateLimited),
        ([failing("billing_error")], ProviderQuota),
        ([failing("invalid_request_error")], ProviderRejected),
        ([], ProviderTruncated),
        ([{"type": "content_block_delta", "index": 0, "delta": 3}], ProviderMalformed),
        ([more(0, type="text_delta", text=3)], ProviderMalformed),
        ([{"type": "content_block_start", "index": 0}], ProviderMalformed),
    ],
)
def test_what_goes_wrong_in_the_stream_is_told_after_what_came_before(
    frames: list[dict[str, Any]], kind: type[ProviderError]
) -> None:
    text = (START, begun(0, type="text", text=""), more(0, type="text_delta", text="Hi"))
    reader = ANTHROPIC.reader("text/event-stream")
    assert [event.value for event in reader.feed(frames_of(*text, *frames))] == [b"Hi"]
    with pytest.raises(kind):
        reader.finish()
    with pytest.raises(kind):
        heard(ANTHROPIC, frames_of(*text, *frames))


# Requests


def test_a_request_is_translated() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "See"}, image("data:image/png;base64,QUJD")]},
        {
            "role": "assistant",
            "content": "I call.",
            "thinking_blocks": [{"type": "thinking", "thinking": "hm", "signature": "c2ln"}],
            "tool_calls": [{"id": "t1", "type": "function", "function": {"name": "add", "arguments": '{"a":1}'}}],
        },
        {"role": "tool", "tool_call_id": "t1", "content": "2"},
        {"role": "user", "content": "And?"},
    ]
    tool = {"type": "function", "function": {"name": "add", "description": "Adds", "parameters": {"type": "object"}}}
    body = sent(
        ANTHROPIC,
        messages,
        tools=[tool],
        tool_choice="required",
        parallel_tool_calls=False,
        stop="END",
        max_completion_tokens=7,
        user="u1",
        reasoning_effort="high",
    )
    assert body == {
        "model": "m",
        "max_tokens": 7,
        "stream": True,
        "system": "Be brief.",
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "See"},
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
                ],
            },
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
                    {"type": "text", "text": "I call."},
                    {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "2"}]},
                    {"type": "text", "text": "And?"},
                ],
            },
        ],
        "stop_sequences": ["END"],
        "tools": [{"name": "add", "description": "Adds", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "thinking": {"type": "adaptive", "display": "summarized"},
        "output_config": {"effort": "high"},
        "metadata": {"user_id": "u1"},
    }


def image(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_the_parts_of_an_answer_can_be_sent_back() -> None:
    """What a stream's state shows of an answer is good as the content of the next request's turn."""
    parts = [
        {"type": "reasoning", "text": "hm", "provider_data": {"type": "thinking", "signature": "c2ln"}},
        {"type": "reasoning", "text": "", "provider_data": {"type": "redacted_thinking", "data": "cmVk"}},
        {"type": "text", "text": "Hi"},
        {"type": "tool_call", "id": "t1", "name": "add", "arguments": '{"a":1}'},
    ]
    body = sent(ANTHROPIC, [USER, {"role": "assistant", "content": parts}, {**USER, "content": "go"}])
    assert body["messages"][1]["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": "c2ln"},
        {"type": "redacted_thinking", "data": "cmVk"},
        {"type": "text", "text": "Hi"},
        {"type": "tool_use", "id": "t1", "name": "add", "input": {"a": 1}},
    ]


def test_thinking_without_its_signature_stays_here() -> None:
    turn = {"role": "assistant", "content": [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "Hi"}]}
    assert sent(ANTHROPIC, [USER, turn, USER])["messages"][1]["content"] == [{"type": "text", "text": "Hi"}]


def test_a_prefill_does_not_end_in_white_space() -> None:
    body = sent(ANTHROPIC, [USER, {"role": "assistant", "content": "The answer \n"}])
    assert body["messages"][-1]["content"] == [{"type": "text", "text": "The answer"}]


def test_a_file_is_a_document() -> None:
    file = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"}}
    (message,) = sent(ANTHROPIC, [{"role": "user", "content": [file]}])["messages"]
    source = {"type": "base64", "media_type": "application/pdf", "data": "QUJD"}
    assert message["content"] == [{"type": "document", "source": source, "title": "a.pdf"}]


@pytest.mark.parametrize(
    ("options", "members"),
    [
        ({}, {"max_tokens": 8192}),
        ({"reasoning_effort": "none"}, {"thinking": {"type": "disabled"}}),
        ({"response_format": {"type": "text"}}, {}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}},
            {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        ),
        ({"web_search_options": {}}, {"tools": [{"type": "web_search_20250305", "name": "web_search"}]}),
        ({"frequency_penalty": 0, "logit_bias": {}, "seed": 7}, {}),
        ({"speed": "fast", "entry": {"allow_options": ["speed"]}}, {"speed": "fast"}),
        ({"entry": {"extra_body": {"thinking": {"type": "disabled"}}}}, {"thinking": {"type": "disabled"}}),
    ],
)
def test_options_are_translated(options: dict[str, Any], members: dict[str, Any]) -> None:
    body = sent(ANTHROPIC, [USER], **options)
    assert members.items() <= body.items()
    assert body.keys() == {"model", "messages", "stream", "max_tokens"} | members.keys()


@pytest.mark.parametrize(
    ("messages", "options", "kind", "words"),
    [
        ([USER], {"frequency_penalty": 1}, ProviderUnsupported, "frequency_penalty is no option"),
        ([USER], {"speed": "fast"}, ProviderUnsupported, "speed is no option"),
        ([USER], {"response_format": {"type": "json_object"}}, ProviderUnsupported, "response_format"),
        ([USER], {"tools": [{"type": "web_search"}]}, ProviderRejected, r"tools\[0\]"),
        ([{"role": "system", "content": "x"}], {}, ProviderRejected, "nothing but a system turn"),
        ([{"role": "user", "content": [{"type": "hologram"}]}], {}, ProviderUnsupported, r"messages\[0\].content\[0\]"),
        ([{"role": "user", "content": [image("file:///etc/passwd")]}], {}, ProviderUnsupported, "scheme"),
        ([{"role": "user", "content": [image("http://example.com/a.png")]}], {}, ProviderUnsupported, "scheme"),
        ([{"role": "user", "content": [image("https://10.0.0.1/a.png")]}], {}, ProviderUnsupported, "private"),
        ([{"role": "user", "content": [image("data:image/png,x")]}], {}, ProviderRejected, "base64"),
        ([{"role": "user", "content": [{"type": "input_audio"}]}], {}, ProviderRejected, "a text is missing"),
        (
            [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "QQ", "format": "wav"}}]}],
            {},
            ProviderUnsupported,
            "no audio",
        ),
        (
            [{"role": "assistant", "tool_calls": [{"id": "t", "function": {"name": "a", "arguments": "[1]"}}]}],
            {},
            ProviderRejected,
            "a JSON object",
        ),
    ],
)
def test_bad_ones_are_refused_before_anything_is_sent(
    messages: list[dict[str, Any]], options: dict[str, Any], kind: type[ProviderError], words: str
) -> None:
    with pytest.raises(kind, match=words):
        sent(ANTHROPIC, messages, **options)


def test_the_key_and_the_version_are_headers() -> None:
    call = ANTHROPIC.completion(CompletionRequest("m", [USER]), entry(ANTHROPIC), key="k1")
    assert (call.method, call.path) == ("POST", "/messages")
    assert call.headers["x-api-key"] == "k1"
    assert call.headers["anthropic-version"] == "2023-06-01"
    assert "Authorization" not in call.headers
    bearer = entry(ANTHROPIC, api_key_header="Authorization", extra_headers={"Anthropic-Version": "2030-01-01"})
    headers = ANTHROPIC.probe(bearer, key="k1").headers
    assert dict(headers) == {"Authorization": "Bearer k1", "Anthropic-Version": "2030-01-01"}
