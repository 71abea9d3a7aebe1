"""Our own processes for tests: started as an operator would, watched by their exit, ended by pid."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

__all__ = ("Service", "ours")

_START_S = 60.0
_STOP_S = 15.0


def ours(**settings: str | float) -> dict[str, str]:
    """This environment with these settings as `TAILRACE_*` variables, and no other of them."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("TAILRACE_")}
    return plain | {f"TAILRACE_{name.upper()}": str(value) for name, value in settings.items()}


class Service:
    """One process. `with` starts it and waits until it is ready; at the end it is killed, if it still runs.

    `entry` is a command that becomes it, as `ip netns exec` does; `root` is where its source is.
    """

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        self.entry: Sequence[str] = ()
        self.root = Path(__file__).parents[2]
        self._command = [sys.executable, *arguments]
        self._environment = dict(environment)
        self._folder = tempfile.TemporaryDirectory(prefix="tailrace-service-")
        self._process: subprocess.Popen[bytes] | None = None

    def __repr__(self) -> str:
        return f"<Service {' '.join(self._command[1:])}>"

    @property
    def folder(self) -> Path:
        """The process's own working directory."""
        return Path(self._folder.name)

    @property
    def process(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise RuntimeError("the process was not started")
        return self._process

    @property
    def log(self) -> str:
        """Everything that the process has written."""
        return (self.folder / "log").read_text(errors="replace")

    @property
    def rss_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def launch(self) -> None:
        """Start without waiting, so that several can start at once."""
        with (self.folder / "log").open("ab") as log:
            environment = self._environment | {"PYTHONPATH": str(self.root)}
            self._process = subprocess.Popen(
                [*self.entry, *self._command],
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until(self, is_ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_S
        while not is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{self} did not start:\n{self.log[-4000:]}")
            time.sleep(0.02)  # a process that is starting can only be asked again

    def terminate(self) -> int:
        """SIGTERM, as an orchestrator would; answers the exit code."""
        self.process.terminate()
        return self.process.wait(_STOP_S)

    def kill(self) -> None:
        """SIGKILL, as the kernel would."""
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.kill()
        self._folder.cleanup()

    def is_ready(self) -> bool:
        return True

    def start(self) -> None:
        self.launch()
        self.wait_until(self.is_ready)

    def __enter__(self) -> Self:
        try:
            if self._process is None:
                self.launch()
            self.wait_until(self.is_ready)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
