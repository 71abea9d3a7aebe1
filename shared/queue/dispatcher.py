"""The seam between who creates a stream and who pulls it."""

from typing import Protocol

__all__ = ("Dispatcher",)


class Dispatcher(Protocol):
    """Brings a stream to some worker, soon and at least once. It decides nothing: the claim does."""

    async def dispatch(self, stream_id: str) -> None:
        """Raises `StoreError` if the queue cannot be reached; the sweeper will find the stream all the same."""
        ...

    async def watch(self) -> None:
        """Look after the way to the queue until cancelled, where somebody has to."""
        ...

    async def aclose(self) -> None: ...
