"""What comes beside the text: opaque provider data, annotations, files, and what nobody understands."""

from typing import Any

import pytest

from services.worker.providers.openai.provider_data import MAX_PROVIDER_DATA_BYTES
from shared.log.events import MAX_EVENT_BYTES, LogEntry
from shared.log.message import Content
from shared.log.position import Position
from tests.unit.worker.providers.openai.frames import STOP, Answer, D, answer_of, frame, tool

__all__ = ()


def details(**entry: Any) -> dict[str, Any]:
    return {"reasoning_details": [{"index": 0, "format": "f", **entry}]}


def parts_of(answer: Answer) -> list[dict[str, Any]]:
    offset, content = 0, Content()
    for event in answer.events:
        offset += event.size
        content.add(LogEntry(Position(1, offset), event))
    return content.parts()


GOOGLE = {"google": {"thought_signature": "sig"}}


@pytest.mark.parametrize("cut", [None, 1])
def test_the_signature_of_a_call_travels_with_it(cut: int | None) -> None:
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}, "extra_content": GOOGLE}
    answer = answer_of(tool(call), STOP, cut=cut)
    (fields,) = answer.fields("tool_call")
    assert fields["provider_data"] == {"extra_content": GOOGLE}
    assert list(fields)[-1] == "arguments_delta"
    assert parts_of(answer) == [
        {
            "type": "tool_call",
            "index": 0,
            "id": "a",
            "name": "f",
            "provider_data": {"extra_content": GOOGLE},
            "arguments": "{}",
        }
    ]


def test_a_signature_inside_the_function() -> None:
    function = {"name": "f", "arguments": "{}", "provider_specific_fields": {"thought_signature": "s"}}
    (fields,) = answer_of(tool({"index": 0, "id": "a", "function": function}), STOP).fields("tool_call")
    assert fields["provider_data"] == {"provider_specific_fields": {"thought_signature": "s"}}


def test_what_comes_for_a_call_that_was_told_travels_at_the_end() -> None:
    first = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}}
    answer = answer_of(tool(first), tool({"index": 0, "extra_content": GOOGLE}), STOP)
    assert answer.fields("reasoning_end") == [
        {"provider_data": {"tool_calls": [{"index": 0, "extra_content": GOOGLE}]}}
    ]
    assert len(answer.calls) == 1


@pytest.mark.parametrize("cut", [None, 1])
def test_reasoning_details_are_put_together_and_end_the_reasoning(cut: int | None) -> None:
    frames = (
        D(reasoning="He", **details(type="reasoning.text", text="He", signature="")),
        D(reasoning="llo", **details(type="reasoning.text", text="llo")),
        D(**details(type="reasoning.text", signature="sig")),
        D(content="a"),
        D(content="b"),
    )
    answer = answer_of(*frames, STOP, cut=cut)
    data = {
        "reasoning_details": [
            {"index": 0, "format": "f", "type": "reasoning.text", "text": "Hello", "signature": "sig"}
        ]
    }
    assert [event.kind for event in answer.events] == ["reasoning", "reasoning", "reasoning_end", "text", "text"]
    assert answer.fields("reasoning_end") == [{"provider_data": data}]
    assert parts_of(answer) == [
        {"type": "reasoning", "provider_data": data, "text": "Hello"},
        {"type": "text", "text": "ab"},
    ]


@pytest.mark.parametrize(
    ("fields", "data"),
    [
        (details(type="reasoning.encrypted", data="x"), details(type="reasoning.encrypted", data="x")),
        ({"reasoning_opaque": "x"}, {"reasoning_opaque": "x"}),
        ({"encrypted_content": "x"}, {"encrypted_content": "x"}),
        ({"thinking_blocks": [{"type": "thinking", "signature": "x"}]},) * 2,
        ({"extra_content": GOOGLE}, {"extra_content": GOOGLE}),
        # Reasoning that is nowhere else.
        (details(type="reasoning.text", text="hm"), details(type="reasoning.text", text="hm")),
    ],
)
def test_each_form_of_provider_data(fields: dict[str, Any], data: dict[str, Any]) -> None:
    answer = answer_of(D(content="", **fields), D(content="a"), STOP)
    assert answer.fields("reasoning_end") == [{"provider_data": data}]
    assert answer.texts == [("text", "a")]


def test_reasoning_that_needs_nothing_carries_nothing() -> None:
    frames = [D(reasoning=text, **details(type="reasoning.text", text=text)) for text in "abc"]
    answer = answer_of(*frames, D(content="a"), STOP)
    assert [event.kind for event in answer.events] == ["reasoning"] * 3 + ["text"]


def test_each_run_of_reasoning_has_its_own() -> None:
    block = {"type": "thinking", "signature": "x"}
    frames = (
        D(reasoning="a", thinking_blocks=[{**block, "signature": "1"}]),
        D(content="b"),
        D(reasoning="c", thinking_blocks=[{**block, "signature": "2"}]),
    )
    answer = answer_of(*frames, STOP)
    told = [fields["provider_data"]["thinking_blocks"][0]["signature"] for fields in answer.fields("reasoning_end")]
    assert told == ["1", "2"]


def test_provider_data_is_bounded() -> None:
    half = "x" * (MAX_PROVIDER_DATA_BYTES // 2)
    frames = [D(reasoning=half, **details(type="reasoning.text", text=half)) for _ in range(2)]
    answer = answer_of(*frames, D(**details(type="reasoning.text", signature="sig")), STOP)
    (end,) = answer.fields("reasoning_end")
    assert end["provider_data"] == details(type="reasoning.text", signature="sig")
    answer = answer_of(D(reasoning_opaque=half * 2), D(content="a"), STOP)
    assert (answer.fields("reasoning_end"), answer.texts) == ([], [("text", "a")])
    assert answer.reader.unknown == {"provider_data": 1}
    call = {"index": 0, "id": "a", "function": {"name": "f", "arguments": "{}"}, "signature": half * 2}
    answer = answer_of(tool(call), STOP)
    assert answer.calls == [("a", "f", "{}")]
    assert answer.reader.unknown == {"provider_data": 1}


def test_data_that_cannot_be_written_is_counted() -> None:
    odd = b'data: {"choices":[{"index":0,"delta":{"reasoning_opaque":"\\ud83d"}}]}\n\n'
    answer = answer_of(odd, D(content="a"), STOP)
    assert (answer.fields("reasoning_end"), answer.texts, answer.end) == ([], [("text", "a")], "stop")
    assert answer.reader.unknown == {"provider_data": 1}


CITATION = {"type": "url_citation", "url_citation": {"url": "https://example.org/", "title": "T"}}


def test_annotations_are_told_once() -> None:
    answer = answer_of(D(content="a"), D(content="", annotations=[CITATION, CITATION]), D(annotations=[CITATION]), STOP)
    assert answer.fields("annotation") == [{"annotation": CITATION}]
    assert parts_of(answer) == [{"type": "text", "annotations": [CITATION], "text": "a"}]


def test_citations_beside_the_answer() -> None:
    chunk = {"choices": [{"index": 0, "delta": {"content": "a"}}], "citations": ["https://example.org/"]}
    source = {"title": "T", "url": "https://example.org/2"}
    answer = answer_of(frame(chunk), frame({**chunk, "search_results": [source]}), STOP)
    assert answer.texts == [("text", "aa")]
    assert [fields["annotation"]["url_citation"] for fields in answer.fields("annotation")] == [
        {"url": "https://example.org/"},
        source,
    ]


def test_references_in_content() -> None:
    reference = {"type": "reference", "reference_ids": [1]}
    answer = answer_of(D(content=[{"type": "text", "text": "a"}, reference]), STOP)
    assert answer.fields("annotation") == [{"annotation": reference}]


def test_too_large_an_annotation_is_counted() -> None:
    answer = answer_of(D(annotations=[{**CITATION, "content": "x" * MAX_EVENT_BYTES}]), D(content="a"), STOP)
    assert (answer.fields("annotation"), answer.reader.unknown) == ([], {"annotation": 1})


PNG = "data:image/png;base64,"


@pytest.mark.parametrize(
    ("fields", "url", "media_type"),
    [
        (
            {"images": [{"type": "image_url", "image_url": {"url": PNG + "AAAA"}, "index": 0}]},
            PNG + "AAAA",
            "image/png",
        ),
        (
            {"content": [{"type": "image_url", "image_url": "https://example.org/a.png"}]},
            "https://example.org/a.png",
            "",
        ),
        (
            {"content": [{"type": "image", "source": {"data": "AAAA", "media_type": "image/png"}}]},
            PNG + "AAAA",
            "image/png",
        ),
        ({"images": [{"b64_json": "AAAA", "mime_type": "image/png"}]}, PNG + "AAAA", "image/png"),
    ],
)
def test_images_are_files(fields: dict[str, Any], url: str, media_type: str) -> None:
    answer = answer_of(D(**fields), STOP)
    assert answer.fields("file") == [{"index": 0, "media_type": media_type, "url": url}]
    assert parts_of(answer) == [{"type": "file", "index": 0, "media_type": media_type, "url": url}]


def test_a_long_file_comes_in_pieces() -> None:
    url = PNG + "A" * (3 * MAX_EVENT_BYTES)
    images = [{"image_url": {"url": url}}, {"image_url": {"url": PNG + "BBBB"}}]
    answer = answer_of(D(images=images), STOP)
    assert all(event.size == 1 and len(event.value) < MAX_EVENT_BYTES + 200 for event in answer.events)
    assert [part["url"] for part in parts_of(answer)] == [url, PNG + "BBBB"]


def test_what_is_not_understood_is_counted() -> None:
    answer = answer_of(
        D(content="a", hologram={"x": 1}, nothing=None),
        frame({"object": "ping"}),
        D(images=[{"x": 1}]),
        frame({"choices": [], "usage": 5}),
        STOP,
    )
    assert answer.reader.unknown == {"delta_field": 1, "chunk": 1, "file": 1, "usage": 1}
    assert (answer.texts, answer.end) == ([("text", "a")], "stop")
