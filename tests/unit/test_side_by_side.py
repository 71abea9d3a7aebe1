"""Running the tests side by side leaves none out, and hides no failure."""

from pathlib import Path

import pytest

from tests.side_by_side import ROOT, Suite, suites, summary

__all__ = ()


def test_no_test_is_left_out() -> None:
    named = [ROOT / name for name in suites()]
    for path in (ROOT / "tests").rglob("test_*.py"):
        assert sum(path == each or path.is_relative_to(each) for each in named) == 1, path


def test_the_longest_come_first(tmp_path: Path) -> None:
    for name in ("unit", "chaos", "other"):
        (tmp_path / name / "deep").mkdir(parents=True)
        (tmp_path / name / "deep" / "test_it.py").touch()
    (tmp_path / "support").mkdir()
    (tmp_path / "test_alone.py").touch()
    assert suites(tmp_path) == ["tests/chaos", "tests/unit", "tests/other", "tests/test_alone.py"]


@pytest.mark.parametrize(
    ("codes", "exit_code"), [([0, 0], 0), ([0, 5], 0), ([5, 5], 5), ([0, 1], 1), ([2, 5], 1), ([0, -9], 1)]
)
def test_one_failure_is_a_failure(codes: list[int], exit_code: int) -> None:
    done = [Suite(f"tests/{number}", code, "", 1.0) for number, code in enumerate(codes)]
    assert summary(done)[1] == exit_code
