"""Gemini's `streamGenerateContent`: what is sent, and what the frames that come back mean."""

from typing import Any

import orjson
import pytest

from services.worker.providers.gemini.dialect import GEMINI
from services.worker.providers.provider import CompletionRequest
from shared.errors import (
    ProviderAuth,
    ProviderError,
    ProviderFailed,
    ProviderQuota,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTruncated,
    ProviderUnsupported,
)
from tests.unit.worker.providers.reading import entry, frames_of, heard, sent

__all__ = ()

USER = {"role": "user", "content": "hi"}
SIGNED = {"extra_content": {"google": {"thought_signature": "c2ln"}}}


def said(*parts: dict[str, Any], finish: str | None = None, **usage: int) -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "usageMetadata": {"promptTokenCount": 4, **usage}, "modelVersion": "g"}


def test_a_whole_answer_is_read() -> None:
    frames = (
        said({"text": "Let me see.", "thought": True}),
        said({"text": "Hello"}),
        said({"text": " 👋"}, {"executableCode": {"code": "1"}}, finish="STOP"),
        # More may follow a finish reason.
        said({"codeExecutionResult": {"output": "1"}}, {"text": "!"}, {"text": "", "thoughtSignature": "c2ln"}),
        said(finish="STOP", candidatesTokenCount=3, thoughtsTokenCount=2, totalTokenCount=9, cachedContentTokenCount=1),
    )
    answer = heard(GEMINI, frames_of(*frames))
    assert (answer.reasoning, answer.text, answer.finish) == ("Let me see.", "Hello 👋!", "stop")
    assert answer.data == [SIGNED]
    assert answer.usage == {
        "input_tokens": 4,
        "output_tokens": 5,
        "total_tokens": 9,
        "reasoning_tokens": 2,
        "cached_tokens": 1,
    }
    assert answer.unknown == {}


def test_calls_come_whole_and_carry_their_signature() -> None:
    first = {"functionCall": {"id": "f1", "name": "add", "args": {"a": 1}}, "thoughtSignature": "c2ln"}
    answer = heard(GEMINI, frames_of(said(first, {"functionCall": {"name": "now"}}, finish="STOP")))
    assert answer.finish == "tool_calls"
    assert answer.calls == {
        0: {"id": "f1", "name": "add", "arguments": '{"a":1}', "provider_data": SIGNED},
        1: {"id": "call_1", "name": "now", "arguments": "{}"},
    }


@pytest.mark.parametrize("form", [b"[%b]", b"%b"])
def test_an_answer_that_is_no_event_stream_is_read(form: bytes) -> None:
    body = form % orjson.dumps(said({"text": "Hi"}, finish="MAX_TOKENS"))
    answer = heard(GEMINI, body, "application/json")
    assert (answer.text, answer.finish) == ("Hi", "length")


def test_pictures_and_sources_are_beside_the_text() -> None:
    picture = {"inlineData": {"mimeType": "image/png", "data": "QUJD"}}
    frame = said({"text": "See"}, picture, finish="STOP")
    frame["candidates"][0]["groundingMetadata"] = {"groundingChunks": [{"web": {"uri": "https://a.b", "title": "A"}}]}
    answer = heard(GEMINI, frames_of(frame))
    assert answer.files == {0: "data:image/png;base64,QUJD"}
    assert answer.annotations == [{"type": "url_citation", "url_citation": {"url": "https://a.b", "title": "A"}}]


@pytest.mark.parametrize(
    ("reason", "ours"),
    [("STOP", "stop"), ("MAX_TOKENS", "length"), ("SAFETY", "content_filter"), ("SPII", "content_filter")],
)
def test_reasons_are_ours(reason: str, ours: str) -> None:
    assert heard(GEMINI, frames_of(said({"text": "x"}, finish=reason))).finish == ours


def test_a_blocked_prompt_is_filtered() -> None:
    assert heard(GEMINI, frames_of({"promptFeedback": {"blockReason": "SAFETY"}})).finish == "content_filter"


def failing(code: int, status: str, message: str = "no", **more: Any) -> bytes:
    return orjson.dumps({"error": {"code": code, "status": status, "message": message, **more}})


@pytest.mark.parametrize(
    ("after", "kind"),
    [
        (b"", ProviderTruncated),
        (b"data: " + failing(503, "UNAVAILABLE") + b"\n\n", ProviderFailed),
        # Without its `data:`, as it comes.
        (failing(503, "UNAVAILABLE"), ProviderFailed),
        (failing(429, "RESOURCE_EXHAUSTED") + b"\n\n", ProviderRateLimited),
        (frames_of(said(finish="MALFORMED_FUNCTION_CALL")), ProviderFailed),
        (frames_of(said(finish="OTHER")), ProviderFailed),
        (frames_of(said(finish="MISSING_THOUGHT_SIGNATURE")), ProviderRejected),
        (frames_of(said(finish="CONTINUATION")), ProviderTruncated),
    ],
)
def test_what_goes_wrong_in_the_stream_is_told_after_what_came_before(after: bytes, kind: type[ProviderError]) -> None:
    body = frames_of(said({"text": "Hi"})) + after
    reader = GEMINI.reader("text/event-stream")
    assert [event.value for event in reader.feed(body)] == [b"Hi"]
    with pytest.raises(kind):
        reader.finish()
    with pytest.raises(kind):
        heard(GEMINI, body)


@pytest.mark.parametrize(
    ("status", "body", "kind", "pause"),
    [
        (400, failing(400, "INVALID_ARGUMENT", "API key not valid."), ProviderAuth, None),
        (400, failing(400, "INVALID_ARGUMENT", "contents is empty"), ProviderRejected, None),
        (429, failing(429, "RESOURCE_EXHAUSTED", "x", details=[{"retryDelay": "48s"}]), ProviderRateLimited, 48),
        (429, failing(429, "RESOURCE_EXHAUSTED", "You exceeded your current quota"), ProviderQuota, None),
        (503, failing(503, "UNAVAILABLE"), ProviderFailed, None),
    ],
)
def test_refusals_are_ours(status: int, body: bytes, kind: type[ProviderError], pause: float | None) -> None:
    error = GEMINI.error_of_response(status, {}, body)
    assert (type(error), error.retry_after_s) == (kind, pause)


# Requests


def test_a_request_is_translated() -> None:
    call = {"id": "f1", "function": {"name": "add", "arguments": '{"a":1}'}, **SIGNED}
    messages = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
                {"type": "image_url", "image_url": "https://example.com/a.jpg?x=1"},
                {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "mp3"}},
            ],
        },
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "f1", "content": "2"},
    ]
    tool = {"type": "function", "function": {"name": "add", "parameters": {"properties": {"a": {}}}}}
    body = sent(
        GEMINI,
        messages,
        model="gemini-3-flash",
        tools=[tool],
        tool_choice={"type": "function", "function": {"name": "add"}},
        stop=["END"],
        max_tokens=7,
        temperature=0.5,
        top_k=3,
        reasoning_effort="low",
        response_format={"type": "json_object"},
    )
    assert body == {
        "systemInstruction": {"parts": [{"text": "Be brief."}]},
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "See"},
                    {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
                    {"fileData": {"mimeType": "image/jpeg", "fileUri": "https://example.com/a.jpg?x=1"}},
                    {"inlineData": {"mimeType": "audio/mpeg", "data": "QUJD"}},
                ],
            },
            {
                "role": "model",
                "parts": [{"functionCall": {"id": "f1", "name": "add", "args": {"a": 1}}, "thoughtSignature": "c2ln"}],
            },
            {"role": "user", "parts": [{"functionResponse": {"id": "f1", "name": "add", "response": {"result": 2}}}]},
        ],
        "tools": [{"functionDeclarations": [{"name": "add", "parametersJsonSchema": {"properties": {"a": {}}}}]}],
        "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["add"]}},
        "generationConfig": {
            "maxOutputTokens": 7,
            "temperature": 0.5,
            "topK": 3,
            "stopSequences": ["END"],
            "thinkingConfig": {"includeThoughts": True, "thinkingLevel": "LOW"},
            "responseMimeType": "application/json",
        },
    }


def test_the_parts_of_an_answer_can_be_sent_back() -> None:
    parts = [
        {"type": "text", "text": "Hi"},
        {"type": "tool_call", "id": "call_0", "name": "add", "arguments": "{}", "provider_data": SIGNED},
    ]
    body = sent(GEMINI, [USER, {"role": "assistant", "content": parts}, {**USER, "content": "go"}])
    # An id that was made here is not sent to who gave none.
    assert body["contents"][1]["parts"] == [
        {"text": "Hi"},
        {"functionCall": {"name": "add", "args": {}}, "thoughtSignature": "c2ln"},
    ]


@pytest.mark.parametrize(
    ("messages", "options", "kind"),
    [
        ([USER], {"logit_bias": {"1": 2}}, ProviderUnsupported),
        ([USER], {"tool_choice": "sometimes", "tools": [{"function": {"name": "a"}}]}, ProviderUnsupported),
        ([USER], {"reasoning_effort": "extreme"}, ProviderUnsupported),
        ([{"role": "tool", "tool_call_id": "?", "content": "x"}], {}, ProviderRejected),
        (
            [{"role": "user", "content": [{"type": "file", "file": {"file_data": "gs://bucket/a.pdf"}}]}],
            {},
            ProviderUnsupported,
        ),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "https://example.com/a"}]}],
            {},
            ProviderUnsupported,
        ),
    ],
)
def test_bad_ones_are_refused_before_anything_is_sent(
    messages: list[dict[str, Any]], options: dict[str, Any], kind: type[ProviderError]
) -> None:
    with pytest.raises(kind):
        sent(GEMINI, messages, **options)


def test_an_entry_may_allow_a_scheme() -> None:
    part = {"type": "file", "file": {"file_data": "gs://bucket/a.pdf"}}
    body = sent(GEMINI, [{"role": "user", "content": [part]}], entry={"allow_schemes": ["gs"]})
    assert body["contents"][0]["parts"] == [
        {"fileData": {"mimeType": "application/pdf", "fileUri": "gs://bucket/a.pdf"}}
    ]


def test_a_model_s_name_is_one_segment_of_the_path() -> None:
    request = CompletionRequest("models/../x?alt=json#", [USER])
    call = GEMINI.completion(request, entry(GEMINI, extra_query={"v": "1 2"}), key="k1")
    assert call.path == "/models/..%2Fx%3Falt%3Djson%23:streamGenerateContent?alt=sse&v=1+2"
    assert call.headers["x-goog-api-key"] == "k1"
