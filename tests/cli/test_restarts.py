"""The restart budget over any history of crashes."""

from hypothesis import given
from hypothesis import strategies as st

from services.local.restarts import RestartBudget

__all__ = ()


@given(st.lists(st.floats(0, 40), min_size=1, max_size=60))
def test_never_more_than_five_restarts_in_any_minute(pauses_s: list[float]) -> None:
    budget, now_s, restarts = RestartBudget(), 0.0, list[float]()
    for pause_s in pauses_s:
        now_s += pause_s
        if budget.wait_s(now_s) is not None:
            restarts.append(now_s)
    for start_s in restarts:
        assert sum(start_s <= each < start_s + 60 for each in restarts) <= 5


def test_waits_grow_and_then_it_gives_up() -> None:
    budget = RestartBudget()
    waits = [budget.wait_s(0) for _ in range(6)]
    for wait, (least, most) in zip(waits, [(0.25, 0.5), (0.5, 1), (1, 2), (2, 4), (4, 8)], strict=False):
        assert wait is not None
        assert least <= wait <= most
    assert waits[5] is None


def test_a_quiet_minute_is_forgiven() -> None:
    budget = RestartBudget()
    for _ in range(6):
        budget.wait_s(0)
    assert budget.wait_s(60) is not None
