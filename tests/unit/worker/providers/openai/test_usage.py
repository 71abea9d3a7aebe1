"""Token counts under every name, in every place."""

from typing import Any

import pytest

from shared.log.tokens import settled
from tests.unit.worker.providers.openai.frames import DONE, STOP, D, answer_of, frame

__all__ = ()

USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
COUNTS = {"input_tokens": 3, "output_tokens": 5, "total_tokens": 8}
ZERO = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def usage_of(*frames: bytes) -> dict[str, int] | None:
    return answer_of(D(content="a"), *frames).reader.outcome.usage


def with_usage(usage: Any) -> bytes:
    return frame({"choices": [], "usage": usage})


@pytest.mark.parametrize("usage", [{"cost": 0.01}, ZERO, {}, {"prompt_tokens": None}, {"total_tokens": "8"}, {"x": 1}])
def test_what_nobody_reported_is_not_nothing(usage: dict[str, Any]) -> None:
    assert usage_of(with_usage(usage), STOP) is None
    assert not settled({1: {"provider": "p"}})["complete"]


def test_zeros_after_counts_are_no_news() -> None:
    assert usage_of(with_usage(USAGE), with_usage(ZERO), with_usage({"cost": 1}), STOP) == COUNTS
    assert usage_of(with_usage(USAGE), with_usage({**USAGE, "completion_tokens": 6, "total_tokens": 9}), STOP) == {
        "input_tokens": 3,
        "output_tokens": 6,
        "total_tokens": 9,
    }


@pytest.mark.parametrize(
    ("usage", "counts"),
    [
        ({"input_tokens": 10, "output_tokens": 2}, {"input_tokens": 10, "output_tokens": 2, "total_tokens": 12}),
        ({"input_tokens": 10}, {"input_tokens": 10}),
        ({"total_tokens": 8}, {"total_tokens": 8}),
        ({"prompt_tokens": 3.0, "completion_tokens": 5.0}, COUNTS),
        ({**USAGE, "cached_tokens": 2}, {**COUNTS, "cached_tokens": 2}),
        ({**USAGE, "cache_read_input_tokens": 2}, {**COUNTS, "cached_tokens": 2}),
        ({**USAGE, "prompt_cache_hit_tokens": 2}, {**COUNTS, "cached_tokens": 2}),
        ({**USAGE, "prompt_tokens_details": {"cached_tokens": 2}}, {**COUNTS, "cached_tokens": 2}),
        ({**USAGE, "input_tokens_details": {"cached_tokens": 2}}, {**COUNTS, "cached_tokens": 2}),
        ({**USAGE, "reasoning_tokens": 2}, {**COUNTS, "reasoning_tokens": 2}),
        ({**USAGE, "completion_tokens_details": {"reasoning_tokens": 2}}, {**COUNTS, "reasoning_tokens": 2}),
        ({**USAGE, "output_tokens_details": {"reasoning_tokens": 2}}, {**COUNTS, "reasoning_tokens": 2}),
        ({**USAGE, "prompt_tokens_details": "x", "completion_tokens_details": None}, COUNTS),
    ],
)
def test_each_name_of_a_count(usage: dict[str, Any], counts: dict[str, int]) -> None:
    assert usage_of(with_usage(usage), STOP) == counts


@pytest.mark.parametrize("usage", [5, "x", [], [1], True, {"prompt_tokens": []}])
def test_a_malformed_usage_never_costs_the_answer(usage: Any) -> None:
    answer = answer_of(D(content="a"), with_usage(usage), D(content="b"), STOP)
    assert (answer.texts, answer.end) == ([("text", "ab")], "stop")


def choice(**fields: Any) -> dict[str, Any]:
    return {"index": 0, "delta": {}, "finish_reason": None, **fields}


@pytest.mark.parametrize(
    "chunk",
    [
        {"choices": [], "usage": USAGE},
        {"choices": [choice(usage=USAGE)]},
        {"choices": [choice(delta={"content": "b"}, usage=USAGE)]},
        {"choices": [choice(delta={"content": "b"})], "usage": USAGE},
        {"choices": [choice(delta={"content": "b"})], "x_groq": {"id": "x", "usage": USAGE}},
        {"choices": [choice(finish_reason="stop")], "x_groq": {"usage": USAGE}},
        {"choices": None, "usage": USAGE},
        {"usage": USAGE},
    ],
)
def test_each_place_of_usage(chunk: dict[str, Any]) -> None:
    answer = answer_of(D(content="a"), frame(chunk), STOP)
    assert answer.reader.outcome.usage == COUNTS
    assert answer.fields("usage") == [COUNTS]


def test_usage_beside_an_error_is_counted() -> None:
    answer = answer_of(D(content="a"), frame({"error": {"code": 500}, "choices": [], "usage": USAGE}), DONE)
    assert answer.error is not None
    assert answer.reader.usage == COUNTS
