"""Breaking off a wait because the stream is to stop, told apart from being cancelled by somebody else."""

import asyncio
from types import TracebackType
from typing import Self

from services.worker.writing.writer import Writer

__all__ = ("StopScope",)


class StopScope:
    """`with StopScope(writer):` ends its block early when the writer is stopped, as `asyncio.timeout` does by time.

    `happened` says afterwards whether it did. A cancellation from outside goes through as it always would.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._task: asyncio.Task[object] | None = None
        self.happened = False

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        self._writer.on_stop(self._interrupt)
        if self._writer.is_stopped:
            self._interrupt()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        self._writer.on_stop(None)
        if not self.happened or self._task is None:
            return False
        still_cancelled = self._task.uncancel() > 0
        return isinstance(error, asyncio.CancelledError) and not still_cancelled

    def _interrupt(self) -> None:
        if self._task is not None and not self.happened:
            self.happened = True
            self._task.cancel()
