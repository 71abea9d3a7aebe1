"""Writes events of streams at a rate: to Redis through the store, as a worker does, or to nchan by POST.

Specification: `streams`, `rate` events a second each, and `redis_url` or `port` with `path` (`/pub/s%d`). Says the `ids`
of the streams; `go` begins; `mark` and `report` tell how many events were `sent` in between.
"""

import asyncio
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

import uvloop

from services.cli.bench.agent import say, spec
from services.cli.bench.agents.pace import Pace
from services.cli.bench.mark import marked
from shared.events import delta
from shared.keys import Keyspace, new_id
from shared.redis_client import open_client
from shared.redis_store import RedisStore
from shared.store import Append, Appended, Claim, Claimed, NewStream, Retention

__all__ = ("NchanSink", "Publisher", "RedisSink")

_NONCE: Final = "0bbe4c11"
_HOUR_MS: Final = 3_600_000
_RETENTION: Final = Retention(live_ms=_HOUR_MS, retain_ms=_HOUR_MS, tombstone_ms=_HOUR_MS)
_CONNECTIONS: Final = 4
_TICK_S: Final = 0.002
_MOST_AT_ONCE: Final = 256

Sink = Callable[[list[int], bytes], Awaitable[None]]


class RedisSink:
    """Streams in Redis, each claimed by this process; one append an event, all of a turn in one batch."""

    def __init__(self, redis_url: str) -> None:
        self._store = RedisStore(open_client(redis_url), Keyspace())
        self.ids: list[str] = []
        self._tails: list[int] = []

    async def open(self, streams: int) -> None:
        for _ in range(streams):
            new = NewStream(
                id=new_id(buckets=16),
                tenant="public",
                model="bench",
                request=b"{}",
                digest="",
                metadata=b"{}",
                interruption=None,
                dispatch_ms=_HOUR_MS,
            )
            await self._store.create(new, _RETENTION)
            claim = Claim(nonce=_NONCE, worker="bench", lease_ms=_HOUR_MS, mode="restart", reason="start")
            if not isinstance(await self._store.claim(new.id, claim, _RETENTION), Claimed):
                raise RuntimeError("a new stream could not be claimed")
            self.ids.append(new.id)
        self._tails = [0] * streams

    async def send(self, streams: list[int], text: bytes) -> None:
        event = delta("text", text.decode())
        appends = [
            Append(self.ids[each], _NONCE, self._tails[each], (event,), self._tails[each] + event.size, {})
            for each in streams
        ]
        for each, reply in zip(streams, await self._store.append(appends, _RETENTION), strict=True):
            if not isinstance(reply, Appended):
                raise TypeError(f"append was answered with {reply!r}")
            self._tails[each] = reply.tail


class NchanSink:
    """POSTs to nchan, pipelined over a few connections."""

    def __init__(self, port: int, path: str) -> None:
        self._connections = [socket.create_connection(("127.0.0.1", port)) for _ in range(_CONNECTIONS)]
        for connection in self._connections:
            connection.setblocking(False)
        self._path = path
        self.ids: list[str] = []

    async def open(self, streams: int) -> None:
        self.ids = [str(number) for number in range(streams)]

    async def send(self, streams: list[int], text: bytes) -> None:
        loop = asyncio.get_running_loop()
        body = b'{"type":"text","delta":"%b"}' % text
        for number, connection in enumerate(self._connections):
            mine = streams[number :: len(self._connections)]
            await loop.sock_sendall(connection, b"".join([self._request(each, body) for each in mine]))
        for number, connection in enumerate(self._connections):
            answered = 0
            while answered < len(streams[number :: len(self._connections)]):
                answered += (await loop.sock_recv(connection, 262_144)).count(b"HTTP/1.1 ")

    def _request(self, stream: int, body: bytes) -> bytes:
        path = (self._path % stream).encode()
        return b"POST %b HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n%b" % (path, len(body), body)


class Publisher:
    """Goes round the streams, so that their events are spread evenly over time."""

    def __init__(self, sink: RedisSink | NchanSink, *, streams: int, rate: float) -> None:
        self._sink = sink
        self._streams = streams
        self._rate = rate
        self._next = 0
        self.sent = 0

    async def run(self) -> None:
        pace = Pace(self._rate * self._streams)
        while True:
            due = pace.due(min(_MOST_AT_ONCE, self._streams))
            if due:
                turn = [(self._next + step) % self._streams for step in range(due)]
                await self._sink.send(turn, marked(time.time_ns()))
                self._next = (self._next + due) % self._streams
                self.sent += due
            await asyncio.sleep(_TICK_S)


async def _serve(given: dict[str, Any]) -> None:
    sink = RedisSink(given["redis_url"]) if "redis_url" in given else NchanSink(given["port"], given["path"])
    await sink.open(given["streams"])
    say({"ids": sink.ids})
    publisher = Publisher(sink, streams=given["streams"], rate=given["rate"])
    words = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    await words.readline()
    async with asyncio.TaskGroup() as group:
        group.create_task(publisher.run())
        while word := await words.readline():
            say({"sent": publisher.sent})
            if word == b"mark\n":
                publisher.sent = 0


def _main() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(spec()))


if __name__ == "__main__":
    _main()
