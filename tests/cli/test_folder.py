"""`./.tailrace` belongs to one at a time, and to what the dead have left running."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from services.console.failure import Failure
from services.local.folder import Folder

__all__ = ()


async def test_what_runs_is_noted_as_long_as_it_runs(tmp_path: Path) -> None:
    folder = Folder(tmp_path / ".tailrace")
    assert folder.noted() is None
    assert not folder.path.exists(), "who only looks makes nothing"
    await folder.acquire()
    folder.note({"pid": 7, "edges": ["http://127.0.0.1:8000"]})
    assert Folder(tmp_path / ".tailrace").noted() == {"pid": 7, "edges": ["http://127.0.0.1:8000"]}
    folder.release()
    assert folder.noted() is None


async def test_the_second_owner_is_told_who_has_it(tmp_path: Path) -> None:
    first, second = Folder(tmp_path / ".tailrace"), Folder(tmp_path / ".tailrace")
    await first.acquire()
    with pytest.raises(Failure, match=f"process {os.getpid()}"):
        await second.acquire(wait_s=0.2)
    first.release()
    await second.acquire(wait_s=0.2)
    second.release()


async def test_a_child_that_outlives_its_owner_keeps_it(tmp_path: Path) -> None:
    first, second = Folder(tmp_path / ".tailrace"), Folder(tmp_path / ".tailrace")
    await first.acquire()
    os.set_inheritable(first.lock, True)
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "input()", stdin=asyncio.subprocess.PIPE, pass_fds=(first.lock,)
    )
    try:
        first.release()
        with pytest.raises(Failure):
            await second.acquire(wait_s=0.2)
    finally:
        await child.communicate(b"\n")
    await second.acquire(wait_s=1)
    second.release()


async def test_nobody_else_looks_inside_and_git_does_not_see_it(tmp_path: Path) -> None:
    folder = Folder(tmp_path / ".tailrace")
    await folder.acquire()
    data = folder.subfolder("redis", "redis-7")
    assert (folder.path.stat().st_mode & 0o777, data.stat().st_mode & 0o777) == (0o700, 0o700)
    assert (folder.path / ".gitignore").read_text() == "*\n"
    folder.release()


async def test_a_place_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Failure, match="cannot write"):
        await Folder(tmp_path / "file" / ".tailrace").acquire()
