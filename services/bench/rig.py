"""The processes under test, in a folder of their own and on free ports: Redis, workers, edges, and peers."""

import json
import os
import socket
import subprocess
import tempfile
import time
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from services.bench.agent import Agent
from services.console.failure import Failure
from services.local.leash import leashed
from services.local.port import LOOPBACK, free_port
from services.local.program import tailrace_command
from services.local.redis import find_server

__all__ = ("AGENTS", "MODEL", "Process", "Rig")

AGENTS: Final = "services.bench.agents"
MODEL: Final = "bench"
_START_S: Final = 20.0
_STOP_S: Final = 5.0
_ASK_AGAIN_S: Final = 0.01


@dataclass(frozen=True, slots=True)
class Process:
    """A server that accepts connections on `port`."""

    name: str
    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"


class Rig:
    """Starts what it is asked for, and ends all of it with itself."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="tailrace-bench-")))
        self._redis: Process | None = None
        self._provider, self._dialect = "", "openai"

    def __repr__(self) -> str:
        return f"<Rig {self._folder}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def redis(self) -> Process:
        """A Redis as `tailrace up` would choose it, without persistence: a disk is not what is measured here."""
        if self._redis is None:
            port = free_port()
            words = ("--port", str(port), "--bind", LOOPBACK, "--save", "", "--appendonly", "no", "--dir", ".")
            command = [str(find_server().binary), *words, "--maxmemory-policy", "noeviction"]
            self._redis = self.start("redis", command, port)
        return self._redis

    @property
    def redis_url(self) -> str:
        return f"redis://{LOOPBACK}:{self.redis.port}/0"

    def agent(self, name: str, **specification: Any) -> Agent:
        """A load generator out of `agents/`, started; what it says first is the caller's to hear."""
        return self._stack.enter_context(Agent.of_module(f"{AGENTS}.{name}", specification))

    def program(self, command: Sequence[str]) -> Agent:
        """The same in another language."""
        return self._stack.enter_context(Agent(command[0], command))

    def provider(self, *, rate: float, tokens: int, dialect: str = "openai") -> Process:
        """A paced provider, and the one that edges and workers started from now on know."""
        agent = self.agent("upstream", rate=rate, tokens=tokens, dialect=dialect)
        process = Process("provider", agent.pid, agent.hear()["port"])
        self._provider, self._dialect = f"{process.url}/v1", dialect
        return process

    def edge(self, **settings: object) -> Process:
        """An edge. Settings are given by their names: `tail_pace_s=0.01`."""
        port = free_port()
        command = tailrace_command("edge", "--host", LOOPBACK, "--port", str(port))
        return self.start("edge", command, port, environment=self.environment(**settings))

    def asgi_peer(self) -> Process:
        """The peer of `agents/asgi_peer.py`."""
        port = free_port()
        agent = self.agent("asgi_peer", redis_url=self.redis_url, port=port)
        agent.hear()
        return Process("asgi", agent.pid, _reachable(port))

    def worker(self, **settings: object) -> Process:
        """A worker. It has no port, and is ready with its first job. Told to stop, it hands over at once."""
        environment = self.environment(worker_drain_s=0.1, **settings)
        return self.start("worker", tailrace_command("worker"), 0, environment=environment)

    def environment(self, **settings: object) -> dict[str, str]:
        """The environment of our own processes: nothing of the caller's settings, everything of the rig's."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TAILRACE_")}
        defaults = {"redis_url": self.redis_url, "log_level": "warning", "max_connection_s": 86_400}
        named = {f"TAILRACE_{name.upper()}": str(value) for name, value in (defaults | settings).items()}
        return inherited | named | {"TAILRACE_CONFIG": str(self._configuration())}

    def start(
        self, name: str, command: Sequence[str], port: int, *, environment: Mapping[str, str] | None = None
    ) -> Process:
        """A child that is waited for until it accepts connections on its port, if it has one."""
        log = self._folder / f"{name}-{port}.log"
        with log.open("ab") as output:
            child = subprocess.Popen(
                leashed(command),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment,
                cwd=self._folder,
            )
        self._stack.callback(_stop, child)
        if port:
            _await_port(child, port, name, log)
        return Process(name, child.pid, port)

    def _configuration(self) -> Path:
        path = self._folder / "tailrace.toml"
        text = ""
        if self._provider:
            fields = {"name": "bench", "dialect": self._dialect, "base_url": self._provider, "models": [MODEL]}
            text = "[[providers]]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in fields.items())
        tomllib.loads(text)
        path.write_text(text)
        return path


def _stop(child: subprocess.Popen[bytes]) -> None:
    child.terminate()
    try:
        child.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _reachable(port: int) -> int:
    deadline = time.monotonic() + _START_S
    while not _accepts(port):
        if time.monotonic() > deadline:
            raise Failure(f"nobody listens on port {port}")
        time.sleep(_ASK_AGAIN_S)
    return port


def _accepts(port: int) -> bool:
    with suppress(OSError), socket.create_connection((LOOPBACK, port), timeout=1):
        return True
    return False


def _await_port(child: subprocess.Popen[bytes], port: int, name: str, log: Path) -> None:
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline and child.poll() is None:
        if _accepts(port):
            return
        time.sleep(_ASK_AGAIN_S)  # a server that is starting can only be asked again
    said = log.read_text(errors="replace")[-2000:]
    raise Failure(f"{name} did not start: {said.strip() or 'it said nothing'}")
