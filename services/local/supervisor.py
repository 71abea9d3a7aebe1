"""Several processes as one: started stage by stage, kept running, stopped in reverse order."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Final

from services.console.exit_code import ExitCode
from services.console.failure import Failure
from services.local.child import Child
from services.local.forwarder import Forwarder
from services.local.program import Program
from services.local.readiness import until
from shared.errors import TailraceError
from shared.signals import stop_signals

__all__ = ("Supervisor",)

_LAST_WORDS: Final = "what it said last is above"


class Supervisor:
    """Stages start one after the other, each when the one before is ready; within a stage all at once."""

    def __init__(self, stages: Sequence[Sequence[Program]], output: Forwarder, *, start_s: float = 60.0) -> None:
        self._stages = [[Child(program, output) for program in stage] for stage in stages]
        self._output = output
        self._start_s = start_s
        self._ending: asyncio.Future[ExitCode] | None = None

    def __repr__(self) -> str:
        return f"<Supervisor {self.children}>"

    @property
    def children(self) -> list[Child]:
        return [child for stage in self._stages for child in stage]

    async def run(self, when_ready: Callable[[], Awaitable[None]]) -> ExitCode:
        """Start everything, call `when_ready`, and stay until a signal stops it (OK) or until a child is lost (FAILED).

        Raises `Failure` when something does not start, and what `when_ready` raises; nothing runs any more by then.
        """
        self._ending = asyncio.get_running_loop().create_future()
        with self._signals():
            async with asyncio.TaskGroup() as tasks:
                starting = tasks.create_task(self._start(tasks, when_ready))
                # Waited for without raising: an exception here would cancel the group, and the order would be lost.
                await asyncio.wait([self._ending])
                starting.cancel()
                await self._stop()
        return self._ending.result()

    def end(self, code: ExitCode = ExitCode.OK) -> None:
        """Stop everything in order; called again, stop everything at once."""
        if self._ending is None or self._ending.done():
            for child in self.children:
                child.kill()
            return
        self._ending.set_result(code)

    async def _start(self, tasks: asyncio.TaskGroup, when_ready: Callable[[], Awaitable[None]]) -> None:
        try:
            for stage in self._stages:
                for child in stage:
                    tasks.create_task(self._keep(child))
                await self._ready(stage)
            await when_ready()
        except TailraceError as error:
            self._fail(error)

    async def _keep(self, child: Child) -> None:
        await child.keep_running()
        # Without effect if it ended because everything does.
        self._fail(None if child.was_ready else _did_not_start(child))

    def _fail(self, error: TailraceError | None) -> None:
        if self._ending is None or self._ending.done():
            return
        if error is None:
            self._ending.set_result(ExitCode.FAILED)
        else:
            self._ending.set_exception(error)

    async def _ready(self, stage: Sequence[Child]) -> None:
        try:
            async with asyncio.timeout(self._start_s):
                for child in stage:
                    await _until_ready(child)
        except TimeoutError:
            for child in stage:
                child.show_held()
            names = ", ".join(child.program.name for child in stage)
            raise Failure(f"not ready after {self._start_s:g} s: {names}", hint=_LAST_WORDS) from None

    async def _stop(self) -> None:
        self._output.line("up", "stopping")
        for stage in reversed(self._stages):
            async with asyncio.TaskGroup() as tasks:
                for child in stage:
                    tasks.create_task(child.stop())
        self._output.line("up", "stopped")

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        loop, numbers = asyncio.get_running_loop(), stop_signals()
        for number in numbers:
            loop.add_signal_handler(number, self.end)
        try:
            yield
        finally:
            for number in numbers:
                loop.remove_signal_handler(number)


def _did_not_start(child: Child) -> Failure:
    return Failure(f"{child.program.name} did not start (exit code {child.exit_code})", hint=_LAST_WORDS)


async def _until_ready(child: Child) -> None:
    check = child.program.is_ready

    async def is_ready() -> bool:
        return child.starts > 0 and (check is None or await check())

    await until(is_ready)
    child.was_ready = True
