"""What the checker makes of a gap: the end of a run knows the last trim of the last start only."""

import pytest

from tests.chaos.log import FinalLog, place
from tests.support.history import Logged

__all__ = ()

# Attempt 2 started over, and was trimmed up to 40.
FENCES = [(1, "aaaaaaaa", 0), (2, "bbbbbbbb", 0)]


@pytest.mark.parametrize(
    ("to", "trims", "is_good"),
    [
        ("2-40.bbbbbbbb", None, True),
        ("2-50.bbbbbbbb", None, False),
        ("2-50.bbbbbbbb", [40], False),
        ("2-50.bbbbbbbb", [40, 50], True),  # a failover has undone it
        ("1-70.aaaaaaaa", None, True),  # replaced, and nobody watched
        ("1-70.aaaaaaaa", [40], False),
        ("1-70.aaaaaaaa", [40, 70], True),
    ],
)
def test_a_gap_leads_where_something_was_trimmed(to: str, trims: list[int] | None, is_good: bool) -> None:
    log = FinalLog(Logged(0, "s", "done", tail=100, trimmed=40, fences=FENCES, trims=trims))
    where = place(to)
    assert where is not None
    assert log.was_trimmed_at(where) == is_good
