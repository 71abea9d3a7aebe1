"""The two distributions: what an application installs to read streams brings nothing of the server along."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

__all__ = ()

ROOT = Path(__file__).parents[2]


def wheel_of(source: Path, folder: Path) -> zipfile.ZipFile:
    """The wheel of a project, built without a network."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
    subprocess.run([*command, "--wheel-dir", str(folder), str(source)], check=True, capture_output=True, timeout=120)
    (wheel,) = folder.glob("*.whl")
    return zipfile.ZipFile(wheel)


def copied(source: Path, folder: Path, *names: str) -> Path:
    """The parts of a project, apart from the checkout: a build leaves folders of its own behind."""
    folder.mkdir()
    subprocess.run(["cp", "-r", *(str(source / name) for name in names), str(folder)], check=True, timeout=60)
    return folder


@pytest.mark.timeout(180)
def test_the_client_brings_one_package(tmp_path: Path) -> None:
    source = copied(ROOT / "services" / "client", tmp_path / "source", "pyproject.toml", "README.md", "tailrace")
    with wheel_of(source, tmp_path) as wheel:
        names = wheel.namelist()
        assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"tailrace"}
        assert "tailrace/py.typed" in names
        (metadata,) = [wheel.read(name).decode() for name in names if name.endswith("/METADATA")]
    assert "Name: tailrace-client" in metadata
    needed = [line.split()[1].partition(">")[0] for line in metadata.splitlines() if line.startswith("Requires-Dist:")]
    assert {name.partition("<")[0] for name in needed} == {"aiohttp", "orjson"}


@pytest.mark.timeout(180)
def test_the_server_depends_on_the_client_and_does_not_hold_it(tmp_path: Path) -> None:
    parts = ("pyproject.toml", "README.md", "LICENSE", "shared", "services")
    with wheel_of(copied(ROOT, tmp_path / "source", *parts), tmp_path) as wheel:
        names = wheel.namelist()
        assert not [name for name in names if "client/tailrace/" in name]
        assert "services/web/chat/index.html" in names
        assert "services/web/client/src/client.js" in names
        assert "shared/store/redis/lua/append.lua" in names
        (metadata,) = [wheel.read(name).decode() for name in names if name.endswith("/METADATA")]
    assert "Requires-Dist: tailrace-client==" in metadata
