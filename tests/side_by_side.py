"""All tests, one directory at a time on each of three processes: `python -m tests.side_by_side [PYTEST OPTIONS]`.

Directories share nothing: every test starts its own servers on free ports under its own key prefix. The longest go
first, so that all processes end at about the same time. What pytest printed is shown when its directory is done.
With a path among the options, pytest alone is run.
"""

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest

__all__ = ("Suite", "main", "suites", "summary")

ROOT: Final = Path(__file__).parents[1]
# More than a small machine has cores: tests mostly wait.
PROCESSES: Final = 3
# Those that take minutes, the longest first; what is not named here is short and comes after them.
LONGEST: Final = (
    "contract",
    "browser",
    "chaos",
    "edge",
    "wires",
    "worker",
    "memory",
    "cli",
    "deploy",
    "versions",
    "sim",
    "unit",
)


@dataclass(frozen=True, slots=True)
class Suite:
    """What one pytest printed about one directory, and how it ended."""

    name: str
    exit_code: int
    output: str
    took_s: float

    @property
    def is_good(self) -> bool:
        return self.exit_code in {pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED}


def suites(root: Path = ROOT / "tests") -> list[str]:
    """Return the directories and files with tests, paths from the project's root, the longest first."""
    directories = [each.name for each in root.iterdir() if each.is_dir() and any(each.rglob("test_*.py"))]
    files = [each.name for each in root.glob("test_*.py")]
    order = {name: place for place, name in enumerate(LONGEST)}
    return [f"tests/{name}" for name in sorted([*directories, *files], key=lambda name: (order.get(name, 99), name))]


def summary(done: Sequence[Suite]) -> tuple[str, int]:
    """Return the last lines and the exit code: good if every suite is, and at least one has run a test."""
    bad = [suite.name for suite in done if not suite.is_good]
    if bad:
        return f"failed: {', '.join(sorted(bad))}", pytest.ExitCode.TESTS_FAILED
    if all(suite.exit_code == pytest.ExitCode.NO_TESTS_COLLECTED for suite in done):
        return "no tests were selected", pytest.ExitCode.NO_TESTS_COLLECTED
    return f"all {len(done)} suites passed", pytest.ExitCode.OK


def _run(name: str, options: Sequence[str]) -> Suite:
    began = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", name, *options]
    ended = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return Suite(name, ended.returncode, ended.stdout, time.monotonic() - began)


def _finished(names: Sequence[str], options: Sequence[str]) -> Iterator[Suite]:
    with ThreadPoolExecutor(PROCESSES) as pool:
        running: list[Future[Suite]] = [pool.submit(_run, name, options) for name in names]
        yield from (each.result() for each in as_completed(running))


def main(options: Sequence[str]) -> int:
    """Run everything and return the exit code of it all."""
    if any(not each.startswith("-") and (ROOT / each.partition("::")[0]).exists() for each in options):
        return subprocess.run([sys.executable, "-m", "pytest", *options], cwd=ROOT, check=False).returncode
    began, done = time.monotonic(), list[Suite]()
    for suite in _finished(suites(), options):
        done.append(suite)
        print(f"\n===== {suite.name}, {suite.took_s:.0f} s\n{suite.output}", flush=True)  # noqa: T201
    words, exit_code = summary(done)
    print(f"===== {words}, {time.monotonic() - began:.0f} s")  # noqa: T201
    return exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
