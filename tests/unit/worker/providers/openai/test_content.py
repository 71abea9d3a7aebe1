"""Content that is a list of parts."""

from typing import Any

import pytest

from tests.unit.worker.providers.openai.frames import STOP, D, answer_of

__all__ = ()

THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm"}]}


@pytest.mark.parametrize("cut", [None, 1])
def test_thinking_and_text_in_a_list(cut: int | None) -> None:
    answer = answer_of(D(content=[THINKING]), D(content=[{"type": "text", "text": "Hi"}]), STOP, cut=cut)
    assert answer.texts == [("reasoning", "Hm"), ("text", "Hi")]
    assert answer.end == "stop"


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ([THINKING, {"type": "text", "text": "Hi"}], [("reasoning", "Hm"), ("text", "Hi")]),
        ([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm"}]}], [("reasoning", "Hm")]),
        ([{"type": "thinking", "thinking": "Hm"}], [("reasoning", "Hm")]),
        ([{"type": "reasoning", "text": "Hm"}], [("reasoning", "Hm")]),
        ([{"type": "output_text", "text": "Hi"}], [("text", "Hi")]),
        ([{"text": "Hi"}], [("text", "Hi")]),
        (["H", "i"], [("text", "Hi")]),
        ({"type": "text", "text": "Hi"}, [("text", "Hi")]),
        ([{"type": "text", "text": {"value": "Hi"}}], [("text", "Hi")]),
        ([{"type": "refusal", "refusal": "No"}], [("refusal", "No")]),
        ([], []),
        ([{"type": "text", "text": ""}], []),
        ([None, {}], []),
    ],
)
def test_each_kind_of_part(content: Any, texts: list[tuple[str, str]]) -> None:
    answer = answer_of(D(content=content), STOP)
    assert answer.texts == texts
    assert answer.end == "stop"


def test_plain_text_may_follow_a_list() -> None:
    answer = answer_of(D(content=[THINKING]), D(content="a"), D(content="b"), STOP)
    assert answer.texts == [("reasoning", "Hm"), ("text", "ab")]


def test_reasoning_may_be_a_list_too() -> None:
    assert answer_of(D(reasoning=[{"type": "text", "text": "Hm"}]), STOP).texts == [("reasoning", "Hm")]
    assert answer_of(D(reasoning_content={"text": "Hm"}), STOP).texts == [("reasoning", "Hm")]
    assert answer_of(D(reasoning_text="Hm"), STOP).texts == [("reasoning", "Hm")]


def test_a_part_that_nobody_knows_does_not_cost_the_answer() -> None:
    answer = answer_of(D(content=[{"type": "hologram", "beam": 1}, {"type": "text", "text": "Hi"}]), STOP)
    assert answer.texts == [("text", "Hi")]
    assert answer.reader.unknown == {"content_part": 1}


def test_the_signature_of_a_thinking_part_travels() -> None:
    answer = answer_of(D(content=[{**THINKING, "signature": "sig"}]), D(content="Hi"), STOP)
    assert [event.kind for event in answer.events] == ["reasoning", "reasoning_end", "text"]
    (end,) = answer.fields("reasoning_end")
    assert end == {"provider_data": {"thinking_blocks": [{"type": "thinking", "signature": "sig"}]}}
