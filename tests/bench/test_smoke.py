"""Every scenario, tiny: that it runs, and finds what it looks for. What it costs is never judged by the clock here."""

import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from services.bench.agents.floor import floor_program
from services.bench.agents.spoken import SPOKEN
from services.bench.catalogue import SCENARIOS
from services.bench.latency import Latencies
from services.bench.mark import MARK, TEXT_BYTES, marked, newest_ns
from services.bench.options import TINY
from services.bench.plot import Line, drawn, plots_of
from services.bench.report import markdown, number
from services.bench.result import Result, Row, at_least, at_most
from services.bench.session import run_scenario
from services.worker.providers.registry import DIALECTS

__all__ = ()

# Generous: a busy test machine shares its processor with everything else, but not by that much.
_MOST_TIMES_THE_FLOOR = 60


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_tiny_run_gives_figures(name: str) -> None:
    # One case stands for the others of its scenario, which differ in numbers only.
    result = run_scenario(name, replace(TINY, cases=("tabs", "edges", "late")))
    assert result.scenario == name
    assert result.rows
    assert all(math.isfinite(value) for row in result.rows for value in row.figures.values())
    assert name in markdown([result], {"time": "now"})


@pytest.mark.slow
@pytest.mark.parametrize("dialect", [each.name for each in DIALECTS if each.name != "openai"])
def test_a_worker_pulls_from_every_dialect(dialect: str) -> None:
    assert dialect in SPOKEN
    (row, *_) = run_scenario("pull", replace(TINY, dialect=dialect)).rows
    assert row.case.endswith(f", {dialect}")
    assert row.figures["chunks_per_s"] > 0


@pytest.mark.slow
def test_the_cost_of_an_event_is_told_as_a_ratio_to_the_floor() -> None:
    result = run_scenario("fanout", replace(TINY, scale=0.1, seconds=1.0, peers=(), cases=("wide",)))
    ours, floor = result.find("wide", "tailrace"), result.find("wide", "floor")
    assert ours is not None
    assert floor is not None
    assert ours["delivered_per_s"] > 0
    assert ours["closed"] == 0
    assert ours["edge_us"] < _MOST_TIMES_THE_FLOOR * max(floor["edge_us"], 1)


@pytest.mark.slow
def test_nobody_misses_or_gets_twice_in_a_small_storm() -> None:
    figures = run_scenario("resume-storm", replace(TINY, scale=0.02)).rows[0].figures
    assert (figures["missing"], figures["twice"], figures["stranded"]) == (0, 0, 0)


def test_a_mark_is_found_again_wherever_the_bytes_are_cut() -> None:
    text = b'data: {"type":"text","delta":"%b"}\n\n' % marked(1_795_382_481_813_902_123)
    assert len(marked(1)) == TEXT_BYTES
    assert text.count(MARK) == 1
    assert newest_ns(text, len(text)) == 1_795_382_481_813_902_123
    assert all(newest_ns(text, end) is None for end in range(text.index(MARK) + 1))


def test_latencies_of_several_processes_add_up() -> None:
    dumps = [Latencies.of_ns(range(0, 50_000_000, 1_000_000)).dump(), Latencies.of_ns([99_000_000] * 50).dump()]
    merged = Latencies.merged(dumps)
    assert merged.count == 100
    assert merged.percentile_ms(25) == pytest.approx(24.1)
    assert merged.percentile_ms(99) == pytest.approx(99.1)
    assert Latencies().percentile_ms(50) == 0


def test_a_promise_that_is_missed_is_said() -> None:
    result = Result(
        "ttft", [Row("case", "tailrace", {"p50_ms": 12.0})], [at_most("p50 ms", 12, 10), at_least("x", 3, 2)]
    )
    said = markdown([result], {})
    assert "- MISSED: p50 ms 12.0 (promised <= 10)" in said
    assert "- holds: x 3.00 (promised >= 2)" in said


def test_a_plot_is_svg_with_every_point() -> None:
    from xml.etree import ElementTree

    drawing = drawn("a < b", "readers", "µs", [Line("edge_us", [(1, 4.0), (10, 3.0), (1000, 2.0)])])
    circles = ElementTree.fromstring(drawing).iter("{http://www.w3.org/2000/svg}circle")
    assert len(list(circles)) == 3
    rows = [Row("readers", "1", {"edge_us": 2.0, "p50_ms": 1.0}), Row("readers", "10", {"edge_us": 1.0, "p50_ms": 1.0})]
    assert list(plots_of([Result("scale", rows)])) == ["cost-of-readers.svg"]


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (3.14159, "3.14"), (31.4159, "31.4"), (31_415.9, "31,416")])
def test_numbers_show_the_digits_that_matter(value: float, text: str) -> None:
    assert number(value) == text


def test_the_floor_compiles_where_there_is_a_compiler(tmp_path: Path) -> None:
    if shutil.which("gcc") is None:
        pytest.skip("no gcc")
    assert floor_program(tmp_path) is not None


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the caller's configuration is near."""
    monkeypatch.chdir(tmp_path)
