"""One child process: started, its output passed on, started again when it crashes, stopped when told."""

import asyncio
import contextlib
import signal
from collections import deque
from typing import Final

from services.local.forwarder import Forwarder, LineSplitter
from services.local.leash import leashed
from services.local.program import Program
from services.local.restarts import RestartBudget

__all__ = ("Child",)

_LAST_WORDS_S: Final = 1.0
_CHUNK_BYTES: Final = 64 * 1024
_MOST_HELD_LINES: Final = 50


class Child:
    """`keep_running` lives as long as the process is wanted; `stop` and `kill` make it unwanted."""

    def __init__(self, program: Program, output: Forwarder) -> None:
        self.program = program
        self.starts = 0
        self.was_ready = False
        self.exit_code: int | None = None
        self._output = output
        self._budget = RestartBudget()
        self._process: asyncio.subprocess.Process | None = None
        self._unwanted = asyncio.Event()
        self._held: deque[str] = deque(maxlen=_MOST_HELD_LINES)

    def __repr__(self) -> str:
        return f"<Child {self.program.name} pid={self.pid} starts={self.starts}>"

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        return self._process.pid if self._process and self._process.returncode is None else None

    async def keep_running(self) -> None:
        """Run it until it is stopped, ends before it was ready, or crashes too often. Cancelled, it kills it."""
        try:
            while not self._unwanted.is_set():
                self.exit_code = await self._run_once()
                if not self._unwanted.is_set():
                    self.show_held()
                if self._unwanted.is_set() or not await self._may_restart(self.exit_code):
                    return
        finally:
            self.kill()
            await self._reap()

    def show_held(self) -> None:
        """Show what a quiet child has said last: it has failed."""
        while self._held:
            self._output.line(self.program.name, self._held.popleft())

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL once the program's time to stop is over. Returns when the process is gone."""
        self._unwanted.set()
        process = self._process
        if process is None or process.returncode is not None:
            return
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(self.program.stop_s):
                await process.wait()
        except TimeoutError:
            self._say(f"did not stop within {self.program.stop_s:g} s and is killed")
            self._signal(signal.SIGKILL)
            await process.wait()

    def kill(self) -> None:
        """SIGKILL, now."""
        self._unwanted.set()
        self._signal(signal.SIGKILL)

    async def _reap(self) -> None:
        """A process that was killed, but that nobody waited for, is still running as far as Python knows."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LAST_WORDS_S):
                    await self._process.wait()

    async def _run_once(self) -> int:
        process = self._process = await asyncio.create_subprocess_exec(
            *leashed(self.program.command),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=dict(self.program.environment),
            pass_fds=self.program.keep_fds,
            start_new_session=True,  # the terminal's Ctrl-C is for the supervisor, which stops its children in order
        )
        self.starts += 1
        if self._unwanted.is_set():
            self._signal(signal.SIGTERM)
        async with asyncio.TaskGroup() as tasks:
            words = tasks.create_task(self._pass_on(process))
            code = await process.wait()
            # A grandchild may hold the pipe open for ever.
            await asyncio.wait([words], timeout=_LAST_WORDS_S)
            words.cancel()
        return code

    async def _pass_on(self, process: asyncio.subprocess.Process) -> None:
        if process.stdout is None:
            raise RuntimeError("a child without a pipe")
        splitter = LineSplitter()
        while chunk := await process.stdout.read(_CHUNK_BYTES):
            for line in splitter.feed(chunk):
                self._hear(line)
        for line in splitter.end():
            self._hear(line)

    def _hear(self, line: str) -> None:
        if self.program.is_quiet:
            self._held.append(line)
        else:
            self._output.line(self.program.name, line)

    async def _may_restart(self, code: int) -> bool:
        if not self.was_ready:
            return False
        wait_s = self._budget.wait_s(asyncio.get_running_loop().time())
        if wait_s is None:
            self._say(f"ended with {_meaning(code)} again; that was once too often")
            return False
        self._say(f"ended with {_meaning(code)}; starting it again in {wait_s:.1f} s")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait_s):
                await self._unwanted.wait()
        return not self._unwanted.is_set()

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None and self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def _say(self, text: str) -> None:
        self._output.line("up", f"{self.program.name} {text}")


def _meaning(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name
