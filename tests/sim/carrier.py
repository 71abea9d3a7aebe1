"""A connection without sockets: the edge writes, the client takes what it has room for, and either may break it off."""

import asyncio
import random
from collections.abc import Callable

from services.edge.carriers.carrier import Disconnected, Headers, SlowReader

__all__ = ("CUT", "END", "SimCarrier")

END = b"<end>"
CUT = b"<cut>"
_ROOM_BYTES = 2_000


class SimCarrier:
    """`Carrier` of a live connection, which takes payloads as they are. `on_stall` is what the protocol would call."""

    wrap = staticmethod(bytes)

    def __init__(self, chance: random.Random, *, timeout_s: float) -> None:
        self.on_stall: Callable[[], None] = _nobody
        self.is_lost = False
        self._chance = chance
        self._timeout_s = timeout_s
        self._sent: list[bytes] = []
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()

    # The edge's side

    async def start(self, headers: Headers) -> None:
        return None

    async def ready(self) -> None:
        if not self._room.is_set():
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._room.wait()
            except TimeoutError as error:
                self.lose()
                raise SlowReader from error
        if self.is_lost:
            raise Disconnected

    async def send(self, payload: bytes) -> None:
        await self.ready()
        self._put(payload)

    def write(self, wrapped: bytes) -> None:
        if not self.is_lost:
            self._put(wrapped)

    async def end(self) -> None:
        self._put(END)

    async def cut(self) -> None:
        self._put(CUT)
        self.is_lost = True

    def abort(self) -> None:
        self.lose()

    async def drop(self) -> None:
        self.lose()

    def release(self) -> None:
        self.on_stall = _nobody

    # The client's side

    async def take(self) -> bytes:
        """Some of what was sent; `CUT` once the connection is lost and all that got through is taken."""
        while not self._sent and not self.is_lost:
            self._news.clear()
            await self._news.wait()
        data = self._sent.pop(0) if self._sent else CUT
        if self._held() < _ROOM_BYTES:
            self._room.set()
        return data

    def lose(self) -> None:
        """The connection breaks: what was under way may arrive, in part or not at all."""
        if self.is_lost:
            return
        self.is_lost = True
        if END in self._sent:
            self._sent.remove(END)
        arrives = self._chance.randint(0, len(self._sent))
        self._sent, broken = self._sent[:arrives], self._sent[arrives : arrives + 1]
        self._sent += [data[: self._chance.randint(0, len(data))] for data in broken]
        self._news.set()
        self._room.set()
        self.on_stall()

    def _put(self, data: bytes) -> None:
        self._sent.append(data)
        self._news.set()
        if self._held() > _ROOM_BYTES and self._room.is_set():
            self._room.clear()
            self.on_stall()

    def _held(self) -> int:
        return sum(map(len, self._sent))


def _nobody() -> None:
    return None
