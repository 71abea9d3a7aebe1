"""A load generator in a process of its own, led over its standard input and output: a word in, a JSON object out."""

import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from services.console.failure import Failure
from services.local.leash import leashed

__all__ = ("Agent", "say", "spec")

_STOP_S = 5.0


class Agent:
    """The measuring end. The command ends with this process."""

    def __init__(self, name: str, command: Sequence[str]) -> None:
        self.name = name
        self._process = subprocess.Popen(leashed(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
        self._heard = bytearray()

    def __repr__(self) -> str:
        return f"<Agent {self.name} pid={self.pid}>"

    @classmethod
    def of_module(cls, module: str, specification: Mapping[str, Any]) -> Self:
        """One of ours: the module is run, and told its specification as the first line of its input."""
        agent = cls(module, [sys.executable, "-m", module])
        try:
            agent.tell(json.dumps(specification))
        except BaseException:  # nobody has it yet who would end it
            agent.close()
            raise
        return agent

    @property
    def pid(self) -> int:
        return self._process.pid

    def tell(self, word: str) -> None:
        assert self._process.stdin is not None
        data = f"{word}\n".encode()
        while data:  # unbuffered: a pipe may take less than all
            data = data[self._process.stdin.write(data) :]

    def hear(self, *, timeout_s: float = 60) -> dict[str, Any]:
        """The next object it says. Raises `Failure` if it ends or stays silent."""
        deadline = time.monotonic() + timeout_s
        while b"\n" not in self._heard:
            self._hear_more(deadline)
        line, _, rest = bytes(self._heard).partition(b"\n")
        self._heard[:] = rest
        said: dict[str, Any] = json.loads(line)
        return said

    def ask(self, word: str, *, timeout_s: float = 60) -> dict[str, Any]:
        self.tell(word)
        return self.hear(timeout_s=timeout_s)

    def close(self) -> None:
        """End it. It has nothing to tidy up."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.terminate()
        try:
            self._process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _hear_more(self, deadline: float) -> None:
        assert self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(max(deadline - time.monotonic(), 0)):
                raise Failure(f"{self.name} did not answer in time")
        data = os.read(self._process.stdout.fileno(), 65_536)
        if not data:
            raise Failure(f"{self.name} ended with exit code {self._process.wait()}")
        self._heard += data


def spec() -> dict[str, Any]:
    """The agent's end: what it was started with. Not an argument, because 9,000 paths are too long for one."""
    given: dict[str, Any] = json.loads(sys.stdin.readline())
    return given


def say(fields: Mapping[str, Any]) -> None:
    """The agent's end: one object to whoever leads it."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()
