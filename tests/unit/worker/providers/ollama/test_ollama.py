"""Ollama's own API: what is sent, and what the lines that come back mean."""

from typing import Any

import orjson
import pytest

from services.worker.providers.ollama.dialect import OLLAMA
from shared.errors import (
    ProviderError,
    ProviderFailed,
    ProviderMalformed,
    ProviderRejected,
    ProviderTruncated,
    ProviderUnsupported,
)
from tests.unit.worker.providers.reading import heard, sent

__all__ = ()

USER = {"role": "user", "content": "hi"}
LINES = "application/x-ndjson"


def line(content: str = "", *, done: str | None = None, **message: Any) -> bytes:
    fields: dict[str, Any] = {"model": "m", "message": {"role": "assistant", "content": content, **message}}
    if done is not None:
        fields |= {"done": True, "done_reason": done, "prompt_eval_count": 4, "eval_count": 3}
    return orjson.dumps({"done": False, **fields}) + b"\n"


def called(name: str, **arguments: Any) -> dict[str, Any]:
    return {"function": {"index": 0, "name": name, "arguments": arguments}}


def test_a_whole_answer_is_read() -> None:
    lines = (
        line(thinking="Let me see."),
        line("Grüße"),
        line(" 👋"),
        line(tool_calls=[called("add", a=1)]),
        line(tool_calls=[called("now")]),
        line(done="stop"),
        b"not looked at",
    )
    answer = heard(OLLAMA, b"".join(lines), LINES)
    assert (answer.reasoning, answer.text, answer.finish) == ("Let me see.", "Grüße 👋", "tool_calls")
    assert answer.calls == {
        0: {"id": "call_0", "name": "add", "arguments": '{"a":1}'},
        1: {"id": "call_1", "name": "now", "arguments": "{}"},
    }
    assert answer.usage == {"input_tokens": 4, "output_tokens": 3, "total_tokens": 7}


@pytest.mark.parametrize(("reason", "ours"), [("stop", "stop"), ("length", "length"), ("", "stop"), ("odd", "unknown")])
def test_reasons_are_ours(reason: str, ours: str) -> None:
    assert heard(OLLAMA, line("x") + line(done=reason), LINES).finish == ours


def test_the_last_line_may_lack_its_end() -> None:
    assert heard(OLLAMA, line("x") + line(done="length")[:-1], LINES).finish == "length"


@pytest.mark.parametrize(
    ("after", "kind"),
    [
        (b"", ProviderTruncated),
        (b'{"error":"the runner has stopped"}\n', ProviderFailed),
        (b'{"error":"the runner has stopped"}', ProviderFailed),
        (line(done="unload"), ProviderFailed),
        (b"<html>\n", ProviderMalformed),
        (b"[3]\n", ProviderMalformed),
        (line(tool_calls=["x"]), ProviderMalformed),
    ],
)
def test_what_goes_wrong_in_the_stream_is_told_after_what_came_before(after: bytes, kind: type[ProviderError]) -> None:
    reader = OLLAMA.reader(LINES)
    assert [event.value for event in reader.feed(line("Hi") + after)] == [b"Hi"]
    with pytest.raises(kind):
        reader.finish()
    with pytest.raises(kind):
        heard(OLLAMA, line("Hi") + after, LINES)


def test_a_request_is_translated() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
            ],
        },
        {"role": "assistant", "tool_calls": [{"id": "t1", "function": {"name": "add", "arguments": '{"a":1}'}}]},
        {"role": "tool", "tool_call_id": "t1", "content": "2"},
    ]
    tool = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    body = sent(
        OLLAMA,
        messages,
        tools=[tool],
        stop="END",
        max_tokens=7,
        temperature=0.5,
        reasoning_effort="none",
        response_format={"type": "json_schema", "json_schema": {"schema": {"type": "object"}}},
        entry={"extra_body": {"keep_alive": "1h", "options": {"num_ctx": 8192}}},
    )
    function = {"name": "add", "description": "", "parameters": {"type": "object"}}
    assert body == {
        "model": "m",
        "stream": True,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "See", "images": ["QUJD"]},
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [{"id": "t1", "function": {"name": "add", "arguments": {"a": 1}}}],
            },
            {"role": "tool", "content": "2", "tool_name": "add", "tool_call_id": "t1"},
        ],
        "tools": [{"type": "function", "function": function}],
        "format": {"type": "object"},
        "think": False,
        "options": {"num_predict": 7, "temperature": 0.5, "stop": ["END"], "num_ctx": 8192},
        "keep_alive": "1h",
    }


@pytest.mark.parametrize(
    ("messages", "options", "kind"),
    [
        ([USER], {"tool_choice": "required"}, ProviderUnsupported),
        ([USER], {"logit_bias": {"1": 2}}, ProviderUnsupported),
        (
            [{"role": "user", "content": [{"type": "image_url", "image_url": "https://example.com/a.png"}]}],
            {},
            ProviderUnsupported,
        ),
        ([{"role": "user", "content": 3}], {}, ProviderRejected),
        ([{"role": "poet", "content": "x"}], {}, ProviderRejected),
    ],
)
def test_bad_ones_are_refused_before_anything_is_sent(
    messages: list[dict[str, Any]], options: dict[str, Any], kind: type[ProviderError]
) -> None:
    with pytest.raises(kind):
        sent(OLLAMA, messages, **options)
