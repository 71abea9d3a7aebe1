"""The page's modules under Node: the stream client against a real HTTP server, the rest as plain functions."""

import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ()

HERE = Path(__file__).resolve().parent
NODE = shutil.which("node")


def node_major() -> int:
    """Return Node's major version, 0 without Node."""
    if NODE is None:
        return 0
    version = subprocess.run([NODE, "--version"], capture_output=True, text=True, check=True, timeout=20).stdout
    return int(version.removeprefix("v").split(".")[0])


@pytest.mark.timeout(90)
@pytest.mark.parametrize("module", sorted(path.name for path in HERE.glob("*.test.mjs")))
def test_module(module: str) -> None:
    if NODE is None or node_major() < 20:
        pytest.skip("needs Node 20 or newer")
    command = [NODE, "--test", "--test-reporter=tap", str(HERE / module)]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=80)
    assert run.returncode == 0, run.stdout + run.stderr
