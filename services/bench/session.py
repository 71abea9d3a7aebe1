"""One call of `tailrace bench`: scenarios one after the other, each told as soon as it is done."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from services.bench.catalogue import SCENARIOS
from services.bench.options import Options
from services.bench.plot import plots_of
from services.bench.report import markdown, tables
from services.bench.result import Result
from services.bench.usage import machine
from services.console.exit_code import ExitCode
from services.console.failure import Failure
from services.console.terminal import Output, is_json, output_console, write_json

__all__ = ("perform_all", "run_scenario")


def perform_all(
    names: Sequence[str], options: Options, output: Output, *, report_path: Path | None, plots_folder: Path | None
) -> ExitCode:
    """Run, print, and write the files that were asked for."""
    if not sys.platform.startswith("linux"):
        raise Failure("the bench reads /proc and needs Linux")
    place = _place()
    results = []
    for name in names:
        result = run_scenario(name, options)
        results.append(result)
        _tell(result, place, output)
    if report_path is not None:
        report_path.write_text(markdown(results, place), "utf-8")
    if plots_folder is not None:
        plots_folder.mkdir(parents=True, exist_ok=True)
        for file_name, drawing in plots_of(results).items():
            (plots_folder / file_name).write_text(drawing, "utf-8")
    return ExitCode.OK


def run_scenario(name: str, options: Options) -> Result:
    """One scenario by its name on the command line."""
    result: Result = import_module(f"services.bench.scenarios.{SCENARIOS[name]}").run(options)
    return result


def _tell(result: Result, place: dict[str, Any], output: Output) -> None:
    if is_json(output):
        write_json(result.as_json() | {"place": place})
        return
    console = output_console()
    for each in tables(result):
        console.print(each)


def _place() -> dict[str, Any]:
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": version("tailrace"),
        "commit": _commit(),
        "command": " ".join(["tailrace", *sys.argv[1:]]),
        "python": sys.version.split()[0],
        **asdict(machine()),
    }


def _commit() -> str:
    git = shutil.which("git")
    if git is None:
        return ""
    said = subprocess.run(
        [git, "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return said.stdout.strip()
