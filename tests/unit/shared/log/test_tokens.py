"""The usage of attempts: its form in meta, and the sum."""

import pytest

from shared.log.tokens import AttemptUsage, read_usage, settled, usage_line

__all__ = ()

COUNTED = {"provider": "openai", "input_tokens": 3, "output_tokens": 5, "total_tokens": 8, "cached_tokens": 0}


def test_a_line_can_be_read_by_an_operator() -> None:
    assert usage_line({**COUNTED, "reasoning_tokens": 2}) == "by=openai in=3 out=5 total=8 cached=0 think=2"


@pytest.mark.parametrize(
    "usage", [{}, {"provider": ""}, {"provider": "", "output_bytes": 0}, COUNTED, {"provider": "0", "audio_tokens": 7}]
)
def test_a_line_loses_nothing(usage: AttemptUsage) -> None:
    assert list(read_usage(usage_line(usage)).items()) == list(usage.items())


def test_the_sum_says_whether_some_attempt_never_reported() -> None:
    dead: AttemptUsage = {"provider": "local", "output_bytes": 18}
    assert settled({2: COUNTED, 1: dead}) == {
        "input_tokens": 3,
        "output_tokens": 5,
        "total_tokens": 8,
        "cached_tokens": 0,
        "complete": False,
        "attempts": [{"attempt": 1, **dead}, {"attempt": 2, **COUNTED}],
    }
    assert settled({2: COUNTED})["complete"] is True
