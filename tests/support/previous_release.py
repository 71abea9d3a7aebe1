"""The version before this one, as files: its edges and workers run beside ours in tests of a rolling deploy.

`deploy/previous-release` names its commit. Whoever makes a release writes that release's commit there afterwards.
"""

import io
import subprocess
import tarfile
from pathlib import Path
from typing import Final

__all__ = ("PREVIOUS", "ReleaseMissing", "unpacked_release")

_ROOT: Final = Path(__file__).parents[2]
PREVIOUS: Final = _ROOT / "deploy" / "previous-release"
_COMMAND_S, _FETCH_S = 30.0, 120.0


class ReleaseMissing(Exception):
    """The commit is not in this clone and cannot be had; the message says what to do."""


def unpacked_release(folder: Path, *, root: Path = _ROOT, commit: str = "") -> Path:
    """The files of the previous release under `folder`. A shallow clone fetches that one commit."""
    commit = commit or PREVIOUS.read_text("ascii").strip()
    if not _has(root, commit):
        _fetch(root, commit)
    archive = _git(root, "archive", "--format=tar", commit, timeout_s=_COMMAND_S)
    with tarfile.open(fileobj=io.BytesIO(archive)) as files:
        files.extractall(folder, filter="data")
    return folder


def _has(root: Path, commit: str) -> bool:
    asked = ["git", "-C", str(root), "cat-file", "-e", f"{commit}^{{commit}}"]
    try:
        return subprocess.run(asked, capture_output=True, check=False, timeout=_COMMAND_S).returncode == 0
    except FileNotFoundError as error:
        raise ReleaseMissing("git is not installed, and the previous release comes out of the history") from error


def _fetch(root: Path, commit: str) -> None:
    try:
        _git(root, "fetch", "--quiet", "--depth=1", "origin", commit, timeout_s=_FETCH_S)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise ReleaseMissing(
            f"commit {commit}, which {PREVIOUS.relative_to(_ROOT)} names, is not in this clone and could not be fetched"
            f" from origin; `git fetch --unshallow`, or `git fetch origin {commit}` from where it is, brings it"
        ) from error


def _git(root: Path, *words: str, timeout_s: float) -> bytes:
    command = ["git", "-C", str(root), *words]
    return subprocess.run(command, capture_output=True, check=True, timeout=timeout_s).stdout
