"""`./.tailrace`: the one place that `tailrace up` writes to, owned by one `up` at a time."""

import asyncio
import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from services.console.failure import Failure
from services.local.readiness import until

__all__ = ("Folder",)

# An orphaned Redis has been told to stop by the death of its supervisor; it needs a moment to write its last second.
_WAIT_S: Final = 5.0
_NOTE: Final = "up.json"


class Folder:
    """The folder and its lock. Redis inherits the lock, so it is held as long as anything uses the data."""

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        self._lock: int | None = None

    def __repr__(self) -> str:
        return f"<Folder {self.path}>"

    @property
    def lock(self) -> int:
        """The file descriptor that holds the lock."""
        if self._lock is None:
            raise RuntimeError("the folder is not locked")
        return self._lock

    async def acquire(self, *, wait_s: float = _WAIT_S) -> None:
        """Make the folder and lock it. Raises `Failure` when another `tailrace up` has it."""
        self._make()
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            async with asyncio.timeout(wait_s):
                await until(lambda: _locked(descriptor))
        except TimeoutError:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise Failure(
                f"tailrace up runs here already (process {owner or 'unknown'})",
                hint="stop that one, or start this one in another folder",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        self._lock = descriptor

    def release(self) -> None:
        """Let go of the folder; nothing runs here any more."""
        if self._lock is not None:
            (self.path / _NOTE).unlink(missing_ok=True)
            os.close(self._lock)
            self._lock = None

    def note(self, running: Mapping[str, Any]) -> None:
        """Write down what runs, for `tailrace doctor`. Nothing secret: who may read this folder may copy it, too."""
        descriptor = os.open(self.path / _NOTE, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(orjson.dumps(running))

    def noted(self) -> Mapping[str, Any] | None:
        """Return what the `tailrace up` that runs here has written down; None if none runs."""
        if not self._is_in_use():
            return None
        try:
            running = orjson.loads((self.path / _NOTE).read_bytes())
        except (OSError, orjson.JSONDecodeError):
            return None  # it has only just begun
        return running if isinstance(running, dict) else None

    def _is_in_use(self) -> bool:
        try:
            descriptor = os.open(self.path / "lock", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(descriptor)
        return False

    def subfolder(self, *names: str) -> Path:
        """A folder inside, made if need be; only its owner can look into it, because prompts are kept there."""
        folder = self.path.joinpath(*names)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return folder

    def _make(self) -> None:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.path / ".gitignore").write_text("*\n", encoding="ascii")
        except OSError as error:
            raise Failure(
                f"cannot write to {self.path}: {error.strerror}", hint="start it in a folder of yours"
            ) from error


async def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
