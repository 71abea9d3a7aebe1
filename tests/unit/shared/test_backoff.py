"""Pauses grow to their bound, are spread out, and begin again after a success."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.backoff import Backoff, growing_s, jittered_s

__all__ = ()


@pytest.mark.parametrize(("failures", "pause_s"), [(0, 0.1), (1, 0.2), (3, 0.8), (4, 1.0), (10**9, 1.0)])
def test_a_pause_doubles_up_to_its_bound(failures: int, pause_s: float) -> None:
    assert growing_s(failures, first_s=0.1, most_s=1.0) == pytest.approx(pause_s)


@given(st.floats(0, 1000))
def test_a_pause_is_spread_over_its_second_half(seconds: float) -> None:
    assert seconds / 2 <= jittered_s(seconds) <= seconds


def test_a_success_begins_again() -> None:
    backoff = Backoff(0.1, 1.0)
    pauses = [backoff.next_s() for _ in range(20)]
    assert 0.05 <= pauses[0] <= 0.1
    assert 0.5 <= pauses[-1] <= 1.0
    backoff.reset()
    assert backoff.next_s() <= 0.1


def test_whoever_waits_for_a_success_is_pausing() -> None:
    backoff = Backoff(0.1, 1.0)
    seen = [backoff.is_pausing]
    backoff.next_s()
    seen.append(backoff.is_pausing)
    backoff.reset()
    assert [*seen, backoff.is_pausing] == [False, True, False]
