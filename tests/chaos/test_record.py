"""What is put on record, and the page made of it."""

import re
from dataclasses import replace
from pathlib import Path

from tests.chaos.checker import check
from tests.chaos.failovers import unasked
from tests.chaos.record import (
    CauseLine,
    FigureLine,
    NoteLine,
    Place,
    RunLine,
    append_line,
    markdown,
    read_lines,
    recorded_seeds,
)
from tests.chaos.run import Verdict
from tests.chaos.stories import good_story
from tests.chaos.waits import Interruption, longest_pauses, next_events_s
from tests.support.history import Received, Struck

__all__ = ()

PLACE = Place("2026-01-01T00:00:00+00:00", "abc", "python -m tests.chaos --seconds 20", "3.11", "2 cores")
_S = 1_000_000_000


def run_line(seed: int) -> RunLine:
    struck = [Struck(0, "row_01_worker_killed", took_effect=True)]
    verdict = Verdict(seed, check([*good_story().records, *struck]), struck)
    return RunLine.of(verdict, place=PLACE, seconds=20, took_s=24.5)


def test_a_record_is_added_to_and_knows_its_seeds(tmp_path: Path) -> None:
    path = tmp_path / "record.jsonl"
    assert recorded_seeds(path) == frozenset()
    for line in (run_line(7), FigureLine(PLACE, "kills", {"kills": 30}, holds=True), run_line(8)):
        append_line(path, line)
    assert recorded_seeds(path) == {7, 8}
    assert read_lines(path)[0] == run_line(7)


def test_the_page_counts_every_run_and_hides_no_failure() -> None:
    broken = replace(run_line(9), violations=1, problem="seed 9: promise 1 broken")
    page = markdown([run_line(8), broken, run_line(7)])
    events = run_line(7).events
    assert f"| events | {3 * events:,} |" in page
    assert "| violations | 1 |" in page
    assert "| row_01_worker_killed | 3 | 3 |" in page
    assert "1 of 3 runs were no success." in page
    assert "seed 9: promise 1 broken" in page
    assert re.findall(r"^\| ([789]) \|", page, re.MULTILINE) == ["7", "8", "9"]


def test_the_page_names_the_cause_of_a_failure_that_was_found() -> None:
    broken = replace(run_line(9), violations=1, problem="seed 9: promise 1 broken")
    page = markdown([broken, CauseLine(PLACE, 9, "the harness")])
    assert page.index("seed 9: promise 1 broken") < page.index("Cause: the harness")


def test_the_page_says_what_else_has_to_be_known() -> None:
    assert "an earlier record" in markdown([run_line(7), NoteLine(PLACE, "There was an earlier record.")])


def test_a_failover_that_nobody_asked_for_may_lose_as_much() -> None:
    asked = Struck(10 * _S, "row_06", took_effect=True, loses=True, began_ns=7 * _S)
    paused = Struck(30 * _S, "row_10", took_effect=True, loses=False, began_ns=20 * _S)
    (failover,) = unasked([9 * _S, 25 * _S], [asked, paused])
    assert failover.loses
    assert failover.began_ns < 25 * _S < failover.at_ns


def test_the_page_says_which_figure_does_not_hold() -> None:
    figures = [
        FigureLine(PLACE, "kills", {"next event p99 s": 10.9}, holds=True),
        FigureLine(PLACE, "deploys", {"pause s": 9.0}, holds=False, problem="the bound was missed"),
    ]
    page = markdown(figures)
    assert "| next event p99 s | 10.9 |" in page
    assert "Does not hold: the bound was missed" in page


def test_a_stream_has_gone_on_when_a_newer_attempt_is_heard() -> None:
    """What the dead worker wrote may still arrive after its death."""
    story = good_story()
    index = next(i for i in story.of("witness") if str(received(story.records[i]).id).startswith("2-"))
    for i in range(index, len(story.records)):
        story.change(i, at_ns=story.records[i].at_ns + 9 * _S)
    died = story.records[index - 2]
    (wait,) = next_events_s(story.records, [Interruption(died.at_ns, {"s2": 1, "never there": 1})])
    assert 9 < wait < 9.1


def test_the_longest_pause_of_each_reader_is_over_all_its_connections() -> None:
    story = good_story()
    index = next(i for i in story.of("behind") if str(received(story.records[i]).id).startswith("2-"))
    for i in range(index, len(story.records)):
        story.change(i, at_ns=story.records[i].at_ns + 5 * _S)
    found = longest_pauses(story.records)
    assert found.keys() == {"ahead", "behind", "late", "witness"}
    assert 5 < found["behind"].lasted_ns / _S < 5.1
    assert found["behind"].second == story.records[index]


def received(record: object) -> Received:
    assert isinstance(record, Received)
    return record
