"""The command line as a person or a script meets it: a process with its own folder, pipes or a terminal."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.service import ours

__all__ = ("Command", "Said", "running", "say")

_ROOT = Path(__file__).parents[2]
_END_S = 30.0


@dataclass(frozen=True, slots=True)
class Said:
    """What a command that has ended has said."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]


@dataclass(slots=True)
class Command:
    """A command that runs. `out` and `err` grow as it speaks."""

    process: asyncio.subprocess.Process
    out: bytearray = field(default_factory=bytearray)
    err: bytearray = field(default_factory=bytearray)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def until(self, words: str, *, within_s: float = _END_S) -> None:
        """Wait until it has said something, on either stream. Raises if it ends without."""
        async with asyncio.timeout(within_s), self._news:
            await self._news.wait_for(lambda: self._has_said(words) or self.process.returncode is not None)
        if not self._has_said(words):
            raise AssertionError(f"ended without {words!r}: {self.out.decode()}\n{self.err.decode()}")

    async def end(self, *, within_s: float = _END_S) -> int:
        async with asyncio.timeout(within_s):
            return await self.process.wait()

    async def listen(self, stream: asyncio.StreamReader, into: bytearray) -> None:
        while chunk := await stream.read(65536):
            into += chunk
            async with self._news:
                self._news.notify_all()

    async def tell_end(self) -> None:
        await self.process.wait()
        async with self._news:
            self._news.notify_all()

    def _has_said(self, words: str) -> bool:
        return words.encode() in self.out + self.err


@asynccontextmanager
async def running(
    *arguments: str,
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    terminal: bool = False,
    stdin: bytes = b"",
    keep_open: bool = False,
) -> AsyncIterator[Command]:
    """`tailrace ARGUMENT…`, killed at the end if it still runs. With `terminal`, both outputs are one terminal.

    With `keep_open` its standard input does not end.
    """
    master, slave = os.openpty() if terminal else (-1, -1)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.cli",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=slave if terminal else asyncio.subprocess.PIPE,
        stderr=slave if terminal else asyncio.subprocess.PIPE,
        cwd=cwd,
        env={**(ours() if environment is None else environment), "PYTHONPATH": str(_ROOT), "COLUMNS": "120"},
    )
    command = Command(process)
    try:
        async with asyncio.TaskGroup() as tasks:
            if terminal:
                os.close(slave)
                tasks.create_task(_listen_to_terminal(command, master))
            for stream, into in ((process.stdout, command.out), (process.stderr, command.err)):
                if stream is not None:
                    tasks.create_task(command.listen(stream, into))
            tasks.create_task(command.tell_end())
            if process.stdin is not None:
                process.stdin.write(stdin)
                if not keep_open:
                    process.stdin.close()
            try:
                yield command
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    finally:
        if terminal:
            os.close(master)


async def say(
    *arguments: str, cwd: Path, environment: Mapping[str, str] | None = None, terminal: bool = False, stdin: bytes = b""
) -> Said:
    """Run a command to its end."""
    async with running(*arguments, cwd=cwd, environment=environment, terminal=terminal, stdin=stdin) as command:
        await command.end()
    return Said(await command.end(), command.out.decode(), command.err.decode())


async def _listen_to_terminal(command: Command, master: int) -> None:
    os.set_blocking(master, False)
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(master, readable.set)
    try:
        while True:
            await readable.wait()
            readable.clear()
            try:
                chunk = os.read(master, 65536)
            except BlockingIOError:
                continue
            except OSError:
                return  # the other side is closed: the command has ended
            command.out += chunk
            async with command._news:
                command._news.notify_all()
    finally:
        loop.remove_reader(master)
