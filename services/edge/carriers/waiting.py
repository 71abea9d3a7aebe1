"""A carrier for a reader whose bytes nobody is sent: all that counts is that it comes to its end."""

import asyncio

from services.edge.carriers.carrier import Headers
from services.edge.carriers.uvicorn_protocol import DirectSocket

__all__ = ("WaitingCarrier",)


class WaitingCarrier:
    """Takes nothing. `is_complete` says whether the reader came to the end of its stream or was sent away before."""

    wrap = None

    def __init__(self) -> None:
        self.is_complete = False

    async def start(self, headers: Headers) -> None:
        """There is no head."""

    async def ready(self) -> None:
        """There is always room; a turn of the loop for others."""
        await asyncio.sleep(0)

    async def send(self, payload: bytes) -> None:
        """Nothing is sent."""

    def write(self, wrapped: bytes) -> DirectSocket | None:
        raise RuntimeError("nothing is written to a reader that waits")

    async def end(self) -> None:
        self.is_complete = True

    async def cut(self) -> None:
        """The reader ends unfinished."""

    def abort(self) -> None:
        """The reader knows already."""

    async def drop(self) -> None:
        """Nothing is held."""

    def release(self) -> None:
        """Nothing is held."""
