"""Help worth reading, fast, and the document that says the same."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from services.cli.main import app
from services.console.exit_code import ExitCode
from tests.cli.command import say
from tests.support.service import ours

__all__ = ()

DOCUMENT = Path(__file__).parents[2] / "docs" / "cli.md"
GROUP = typer.main.get_command(app)
COMMANDS = sorted(GROUP.commands)  # type: ignore[attr-defined]  # the app is a group
# Beyond these, importing costs more than a person waits for a help text.
SLOW_MODULES = ("aiohttp", "arq", "fastapi", "orjson", "prometheus_client", "pydantic", "redis", "uvicorn", "xllamacpp")


@pytest.mark.parametrize("command", COMMANDS)
async def test_every_command_explains_itself(tmp_path: Path, command: str) -> None:
    said = await say(command, "--help", cwd=tmp_path)
    assert said.code == 0
    assert f"Usage: tailrace {command}" in said.out
    if command != "version":
        assert "Example" in said.out
        assert said.out.count(f"tailrace {command}") >= 1


async def test_the_overview_names_every_command_and_the_exit_codes(tmp_path: Path) -> None:
    said = await say("--help", cwd=tmp_path)
    assert said.code == 0
    assert all(f" {command} " in said.out for command in COMMANDS)
    assert "0 ok, 1 failed, 2 wrong usage, 130 Ctrl-C" in " ".join(said.out.split())


async def test_without_a_command_the_help_is_shown(tmp_path: Path) -> None:
    said = await say(cwd=tmp_path)
    assert said.code == 2
    assert "doctor" in said.out + said.err


def test_help_imports_nothing_slow(tmp_path: Path) -> None:
    source = (
        "import sys, json\nfrom services.cli.main import main\nsys.argv = ['tailrace', '--help']\nmain()\n"
        f"print(json.dumps([name for name in {SLOW_MODULES!r} if name in sys.modules]), file=sys.stderr)\n"
    )
    (tmp_path / "probe.py").write_text(source, "utf-8")
    root = str(DOCUMENT.parents[1])
    done = subprocess.run(
        [sys.executable, "probe.py"],
        cwd=tmp_path,
        env={"PYTHONPATH": root},
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert json.loads(done.stderr) == []


@pytest.mark.parametrize(("option", "words"), [("--version", "tailrace "), ("--show-completion", "_TAILRACE_COMPLETE")])
async def test_options_of_the_command_itself(tmp_path: Path, option: str, words: str) -> None:
    said = await say(option, cwd=tmp_path, environment=ours() | {"SHELL": "/bin/bash"})
    assert said.code == 0, said.err
    assert words in said.out
    assert f"`{option}`" in DOCUMENT.read_text("utf-8")


async def test_versions_are_told(tmp_path: Path) -> None:
    said = await say("version", cwd=tmp_path)
    assert said.lines[0]["tailrace"]
    assert said.lines[0]["python"]


def sections() -> dict[str, str]:
    parts = re.split(r"^### `tailrace ([a-z]+)[^\n]*\n", DOCUMENT.read_text("utf-8"), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_command_is_documented_and_nothing_else() -> None:
    assert sorted(sections()) == COMMANDS


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_documented(command: str) -> None:
    parameters = GROUP.commands[command].params  # type: ignore[attr-defined]
    names = [max(parameter.opts, key=len) for parameter in parameters if parameter.param_type_name == "option"]
    assert [name for name in names if f"`{name}" not in sections()[command]] == []


def test_every_exit_code_is_documented() -> None:
    text = DOCUMENT.read_text("utf-8")
    assert [code for code in ExitCode if f"| {code.value} |" not in text] == []
