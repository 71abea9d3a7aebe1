"""A small broker for the commands in the documentation, and a shell to run them in."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.docs.markdown import ROOT
from tests.support.edge import EdgeProcess, running_edge
from tests.support.redis_server import RedisServer
from tests.support.service import Service, ours
from tests.support.worker import running_worker

__all__ = ("Broker", "running_broker")

# The documentation speaks of the built-in model. Here its part is played by a provider that always says the same.
_MODEL = "smollm2"
# An answer of three seconds, so that commands find a stream that is being written.
_CHUNKS, _CHUNKS_PER_S = 60, 20
_SHELL_S = 60
_MARK = "@@ end of block @@"


class SlowProvider(Service):
    """The scripted provider at the pace of a small model."""

    def __init__(self) -> None:
        pace = ["--chunks", str(_CHUNKS), "--rate", str(_CHUNKS_PER_S)]
        super().__init__(["-m", "tests.support.provider", "--port", "0", *pace], ours())

    def is_ready(self) -> bool:
        return self.log.strip().isdecimal()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.log.strip()}/v1"


@dataclass(frozen=True, slots=True)
class Broker:
    """Two edges, standing in for ports 8000 and 8001 of the documentation."""

    edges: list[EdgeProcess]
    environment: dict[str, str]

    def run(self, commands: list[str]) -> list[str]:
        """Run blocks of commands in one shell, from the first to the last, and answer what each of them printed.

        A command that fails fails the test.
        """
        script = "".join(f"{self.here(block)}\necho '{_MARK}'\n" for block in commands)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            capture_output=True,
            text=True,
            timeout=_SHELL_S,
            env=self.environment,
            cwd=ROOT,
            check=False,
        )
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout.split(f"{_MARK}\n")[:-1]

    def here(self, block: str) -> str:
        """The same for the ports that the edges have, and our own command."""
        for port, edge in zip((8000, 8001), self.edges, strict=True):
            block = block.replace(f"127.0.0.1:{port}", f"127.0.0.1:{edge.port}")
        return block.replace(".venv/bin/tailrace", f"{sys.executable} -m services.cli")


@contextmanager
def running_broker(redis: RedisServer) -> Iterator[Broker]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tailrace-docs-")))
        provider = stack.enter_context(SlowProvider())
        config = folder / "tailrace.toml"
        config.write_text(f'[[providers]]\nname = "local"\nbase_url = "{provider.base_url}"\nmodels = ["{_MODEL}"]\n')
        common: dict[str, Any] = {"redis_url": redis.url, "config": str(config)}
        stack.enter_context(running_worker(**common))
        edges = [stack.enter_context(running_edge(**common)) for _ in range(2)]
        environment = ours(**common) | {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
        yield Broker(edges, environment)
