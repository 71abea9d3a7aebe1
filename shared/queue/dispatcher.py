"""The interface between who creates a stream and who pulls it."""

from collections.abc import Sequence
from typing import Protocol

from shared.queue.workers import WorkerSeen

__all__ = ("Dispatcher",)


class Dispatcher(Protocol):
    """Brings a stream to some worker, soon and at least once. It decides nothing: the claim does."""

    async def dispatch(self, stream_id: str, *, tenant: str) -> bool:
        """Queue a new stream at its tenant's turn. Answers False if it waits there already: repeating is harmless.

        Raises `StoreError` if the queue cannot be reached.
        """
        ...

    async def workers(self) -> Sequence[WorkerSeen]:
        """The workers that are there. Raises `StoreError` if the queue cannot be reached."""
        ...

    async def watch(self) -> None:
        """Look after the way to the queue until cancelled, where somebody has to."""
        ...

    async def aclose(self) -> None: ...
