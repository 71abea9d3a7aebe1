"""`python -m tests.chaos.record runs.jsonl`: the page RESULTS.md, made of what runs and figures have put on record.

One line of JSON a run, written when the run is over: an interrupted record loses the run that it was in, and goes on
with the seeds that are missing. Several processes may write to one file.
"""

import argparse
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import orjson

from services.bench.usage import machine
from tests.chaos.run import Verdict

__all__ = (
    "CauseLine",
    "FigureLine",
    "NoteLine",
    "Place",
    "RunLine",
    "append_line",
    "markdown",
    "read_lines",
    "recorded_seeds",
)

PAGE = Path(__file__).parent / "RESULTS.md"
_SUMS = ("streams", "readers", "events", "resets", "gaps", "resumes", "effects", "violations")


@dataclass(frozen=True, slots=True)
class Place:
    """When, on what and of which commit something was run, and by which command, without its seeds."""

    time: str
    commit: str
    command: str
    python: str
    machine: str

    @classmethod
    def here(cls, command: str) -> Self:
        one = machine()
        described = f"{one.cores} cores, {one.processor}, {one.memory_gib} GiB, Linux {one.kernel}"
        time = datetime.now(UTC).isoformat(timespec="seconds")
        return cls(time, _commit(), command, sys.version.split()[0], described)


@dataclass(frozen=True, slots=True)
class RunLine:
    """One seed of the long run. `faults` counts those that met somebody, by row; `problem` is empty if all is well."""

    place: Place
    seed: int
    seconds: float
    took_s: float
    faults: dict[str, int]
    outcomes: dict[str, int]
    streams: int
    readers: int
    events: int
    resets: int
    gaps: int
    resumes: int
    resume_p99_s: float
    longest_pause_s: float
    violations: int
    problem: str = ""

    @classmethod
    def of(cls, verdict: Verdict, *, place: Place, seconds: float, took_s: float) -> Self:
        report = verdict.report
        return cls(
            place,
            verdict.seed,
            seconds,
            round(took_s, 1),
            report.faults,
            report.outcomes,
            report.streams,
            report.readers,
            report.events,
            report.resets,
            report.gaps,
            report.resumes,
            round(report.resume_p99_s, 3),
            round(report.longest_stall_s, 2),
            len(report.violations),
            verdict.problem or "",
        )

    @property
    def effects(self) -> int:
        return sum(self.faults.values())


@dataclass(frozen=True, slots=True)
class FigureLine:
    """One of the three measurements of `figures.py`: names and values, and whether they are within what is promised."""

    place: Place
    name: str
    values: dict[str, float | str]
    holds: bool
    problem: str = ""


@dataclass(frozen=True, slots=True)
class CauseLine:
    """What a run that was no success was found to have come from."""

    place: Place
    seed: int
    said: str
    problem: str = ""


@dataclass(frozen=True, slots=True)
class NoteLine:
    """What else has to be known of the record."""

    place: Place
    said: str
    problem: str = ""


Line = RunLine | FigureLine | CauseLine | NoteLine
_KINDS: Mapping[str, type[Line]] = {"run": RunLine, "figure": FigureLine, "cause": CauseLine, "note": NoteLine}


def append_line(path: Path, line: Line) -> None:
    kind = next(name for name, each in _KINDS.items() if isinstance(line, each))
    with path.open("ab") as file:
        file.write(orjson.dumps({"kind": kind, **asdict(line)}) + b"\n")


def read_lines(path: Path) -> list[Line]:
    """What is on record; nothing if there is no such file yet."""
    if not path.exists():
        return []
    return [_line(raw) for raw in path.read_bytes().splitlines() if raw]


def recorded_seeds(path: Path) -> frozenset[int]:
    return frozenset(line.seed for line in read_lines(path) if isinstance(line, RunLine))


def markdown(lines: Sequence[Line]) -> str:
    """The whole page."""
    runs = sorted((line for line in lines if isinstance(line, RunLine)), key=lambda run: run.seed)
    figures = [line for line in lines if isinstance(line, FigureLine)]
    parts = [
        "# Chaos on record",
        "",
        "Written by `python -m tests.chaos.record`; do not edit. What the runs do and what the checker asks is in"
        " [README.md](README.md).",
        *(paragraph for line in lines if isinstance(line, NoteLine) for paragraph in ("", line.said)),
        *_runs(runs, {line.seed: line.said for line in lines if isinstance(line, CauseLine)}),
        *_figures(figures),
    ]
    return "\n".join(parts) + "\n"


def _runs(runs: Sequence[RunLine], causes: Mapping[int, str]) -> Iterable[str]:
    if not runs:
        return
    yield from ["", "## The long run", ""]
    yield from _places(runs)
    yield f"- {len(runs)} seeds, {runs[0].seed} to {runs[-1].seed}, of {_span(run.seconds for run in runs)} s each"
    yield from ["", "| | all seeds |", "|---|---:|"]
    yield from (f"| {name} | {sum(getattr(run, name) for run in runs):,} |" for name in _SUMS)
    yield f"| longest pause of a stream, s | {max(run.longest_pause_s for run in runs):.2f} |"
    yield f"| slowest p99 of a resume, s | {max(run.resume_p99_s for run in runs):.3f} |"
    yield from _broken(runs, causes)
    yield from ["", "Effects are faults that met somebody:", "", "| fault | times | seeds |", "|---|---:|---:|"]
    for name in sorted({name for run in runs for name in run.faults}):
        with_it = [run for run in runs if name in run.faults]
        yield f"| {name} | {sum(run.faults[name] for run in with_it)} | {len(with_it)} |"
    outcomes: Counter[str] = Counter()
    for run in runs:
        outcomes.update(run.outcomes)
    yield from ["", f"How readers ended: {', '.join(f'{name} {outcomes[name]:,}' for name in sorted(outcomes))}.", ""]
    yield "| seed | took s | streams | readers | events | resets | effects | longest pause s | violations |"
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|---:|"
    yield from (_row(run) for run in runs)


def _row(run: RunLine) -> str:
    counts = f"{run.streams} | {run.readers} | {run.events} | {run.resets} | {run.effects}"
    return f"| {run.seed} | {run.took_s:.1f} | {counts} | {run.longest_pause_s:.2f} | {run.violations} |"


def _broken(runs: Sequence[RunLine], causes: Mapping[int, str]) -> Iterable[str]:
    broken = [run for run in runs if run.problem]
    yield from ["", f"{len(broken)} of {len(runs)} runs were no success."]
    for run in broken:
        yield from ["", "```text", run.problem, "```"]
        yield from ["", f"Cause: {causes[run.seed]}"] if run.seed in causes else []


def _figures(figures: Sequence[FigureLine]) -> Iterable[str]:
    if not figures:
        return
    yield from [
        "",
        "## With the default lease",
        "",
        "Lease 10 s, heartbeat 3 s, a look every 2 s, as by default; 20 attempts instead of 3, because a stream here"
        " meets more kills.",
        "",
    ]
    yield from _places(figures)
    for figure in figures:
        yield from ["", f"### {figure.name}", "", "| | |", "|---|---:|"]
        yield from (
            f"| {name} | {value if isinstance(value, str) else f'{value:,g}'} |"
            for name, value in figure.values.items()
        )
        yield from ["", "Holds." if figure.holds else f"Does not hold: {figure.problem}"]


def _places(lines: Sequence[Line]) -> Iterable[str]:
    places = [line.place for line in lines]
    times = sorted(place.time for place in places)
    yield f"- time: {times[0]} to {times[-1]}"
    for name in ("commit", "machine", "python", "command"):
        found = dict.fromkeys(str(getattr(place, name)) for place in places)
        yield from (f"- {name}: `{value}`" for value in found)


def _span(values: Iterable[float]) -> str:
    found = sorted(set(values))
    return f"{found[0]:g}" if len(found) == 1 else f"{found[0]:g} to {found[-1]:g}"


def _line(raw: bytes) -> Line:
    fields: dict[str, Any] = orjson.loads(raw)
    kind = _KINDS[fields.pop("kind")]
    return kind(Place(**fields.pop("place")), **fields)


def _commit() -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "describe", "--always", "--dirty", "--abbrev=12"]
    said = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False)
    return said.stdout.strip()


def _place() -> Place:
    return Place.here(f"python -m {__package__}.record")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.record", description=__doc__)
    parser.add_argument("record", type=Path, help="what `--record` of the runs and of the figures wrote")
    parser.add_argument("--page", type=Path, default=PAGE, help="default: tests/chaos/RESULTS.md")
    parser.add_argument("--note", metavar="TEXT", help="add what else has to be known")
    parser.add_argument("--cause", nargs=2, metavar=("SEED", "TEXT"), help="add why a run was no success")
    arguments = parser.parse_args()
    if arguments.cause:
        seed, said = arguments.cause
        append_line(arguments.record, CauseLine(_place(), int(seed), said))
    if arguments.note:
        append_line(arguments.record, NoteLine(_place(), arguments.note))
    lines = read_lines(arguments.record)
    arguments.page.write_text(markdown(lines), "utf-8")
    return 1 if any(line.problem for line in lines) else 0


if __name__ == "__main__":
    sys.exit(main())
