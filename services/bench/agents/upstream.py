"""A paced provider. Every delta carries the time it was sent, so that readers can measure the way.

Specification: `rate` tokens a second (0: all at once), `tokens` an answer, in this `dialect`.
Says `{"port"}`, then nothing.
"""

import asyncio
import re
import time
from collections.abc import Callable
from typing import Final, cast

import uvloop

from services.bench.agent import say, spec
from services.bench.agents.spoken import SPOKEN, Spoken
from services.bench.mark import marked

__all__ = ("Upstream",)

_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\nTransfer-Encoding: chunked\r\n\r\n"
_LENGTH: Final = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_TICK_S: Final = 0.002


class Upstream(asyncio.Protocol):
    """One connection; answers any POST. The first token goes out with the head of the response."""

    def __init__(
        self, live: set["Upstream"], *, rate: float, tokens: int, clock: Callable[[], float], spoken: Spoken
    ) -> None:
        self._spoken = spoken
        self._live = live
        self._rate = rate
        self._tokens = tokens
        self._clock = clock
        self._received = bytearray()
        self._sent = -1
        self._began = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = bytes(self._received).partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if not found or len(body) < (int(length[1]) if length else 0):
            return
        self._received.clear()
        self._sent, self._began = 0, self._clock()
        self._transport.write(_HEAD % self._spoken.media_type)
        self._live.add(self)
        self.advance(self._began)

    def connection_lost(self, exc: Exception | None) -> None:
        self._live.discard(self)

    def advance(self, now: float) -> None:
        """Send what is due."""
        due = min(int((now - self._began) * self._rate) + 1, self._tokens) if self._rate else self._tokens
        for _ in range(due - self._sent):
            self._transport.write(_chunk(self._spoken.chunk % marked(time.time_ns())))
        self._sent = due
        if due >= self._tokens:
            self._transport.write(_chunk(self._spoken.end) + b"0\r\n\r\n")
            self._live.discard(self)


def _chunk(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


async def _serve(*, rate: float, tokens: int, spoken: Spoken) -> None:
    loop = asyncio.get_running_loop()
    live: set[Upstream] = set()
    server = await loop.create_server(
        lambda: Upstream(live, rate=rate, tokens=tokens, clock=loop.time, spoken=spoken), "127.0.0.1", 0, backlog=4096
    )
    say({"port": server.sockets[0].getsockname()[1]})
    while True:
        for connection in list(live):
            connection.advance(loop.time())
        await asyncio.sleep(_TICK_S)


def _main() -> None:
    given = spec()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(rate=given["rate"], tokens=given["tokens"], spoken=SPOKEN[given["dialect"]]))


if __name__ == "__main__":
    _main()
