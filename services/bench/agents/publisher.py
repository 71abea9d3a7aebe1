"""Writes events of streams at a rate: to Redis through the store, as a worker does, or bare, or to nchan by POST.

Specification: `streams`, `rate` events a second each, `padding` bytes of text before the mark, and `redis_url` (with
`bare`: XADD instead of our append) or `port` with `path` (`/pub/s%d`). Says the `ids` of the streams; `go` begins;
`go N` writes N events to each stream and stops; `mark` and `report` tell how many events were `sent` in between.
"""

import asyncio
import socket
import sys
import time
from typing import Any, Final, Protocol

import uvloop

from services.bench.agent import say, spec
from services.bench.agents.pace import Pace
from services.bench.mark import marked
from shared.log.events import delta
from shared.log.keys import Keyspace, new_id
from shared.store.calls import Append, Claim, NewStream, Retention
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from shared.store.replies import Appended, Claimed

__all__ = ("BareSink", "NchanSink", "Publisher", "RedisSink", "Sink")

_NONCE: Final = "0bbe4c11"
_HOUR_MS: Final = 3_600_000
_RETENTION: Final = Retention(live_ms=_HOUR_MS, retain_ms=_HOUR_MS, tombstone_ms=_HOUR_MS)
_CONNECTIONS: Final = 4
_TICK_S: Final = 0.002
_MOST_AT_ONCE: Final = 256


class Sink(Protocol):
    """The receiver of events."""

    ids: list[str]

    async def open(self, streams: int) -> None: ...

    async def send(self, streams: list[int], text: bytes) -> None:
        """One event to each of these streams."""
        ...


class RedisSink:
    """Streams in Redis, each claimed by this process; one append an event, all of a round in one batch."""

    def __init__(self, redis_url: str) -> None:
        self._client = open_client(redis_url)
        self._keys = Keyspace()
        self._store = RedisStore(self._client, self._keys)
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
            reply = await self._store.claim(new.id, claim, _RETENTION)
            if not isinstance(reply, Claimed):
                raise TypeError(f"claim was answered with {reply!r}")
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


class BareSink(RedisSink):
    """The least that Redis can be asked for: one XADD an event, next to our append."""

    async def send(self, streams: list[int], text: bytes) -> None:
        async with self._client.pipeline(transaction=False) as pipe:
            for each in streams:
                self._tails[each] += len(text)
                pipe.execute_command("XADD", self._keys.stream(self.ids[each]), f"1-{self._tails[each]}", "text", text)
            await pipe.execute()


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
        return b"POST %b HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (path, len(body), body)


class Publisher:
    """Goes round the streams, so that their events are spread evenly over time."""

    def __init__(self, sink: Sink, *, streams: int, rate: float, padding: int) -> None:
        self._sink = sink
        self._streams = streams
        self._rate = rate
        self._padding = b"x" * padding
        self._next = 0
        self.sent = 0

    async def run(self) -> None:
        """At the rate, until cancelled."""
        pace = Pace(self._rate * self._streams)
        while True:
            due = pace.due(min(_MOST_AT_ONCE, self._streams))
            if due:
                await self._send(due)
            await asyncio.sleep(_TICK_S)

    async def fill(self, events: int) -> None:
        """So many to each stream, as fast as they are taken."""
        for _ in range(events * self._streams // (step := min(_MOST_AT_ONCE, self._streams))):
            await self._send(step)

    async def _send(self, events: int) -> None:
        batch = [(self._next + step) % self._streams for step in range(events)]
        await self._sink.send(batch, self._padding + marked(time.time_ns()))
        self._next = (self._next + events) % self._streams
        self.sent += events


def _sink(given: dict[str, Any]) -> Sink:
    if "redis_url" not in given:
        return NchanSink(given["port"], given["path"])
    return BareSink(given["redis_url"]) if given.get("bare") else RedisSink(given["redis_url"])


async def _serve(given: dict[str, Any]) -> None:
    sink = _sink(given)
    await sink.open(given["streams"])
    say({"ids": sink.ids})
    publisher = Publisher(sink, streams=given["streams"], rate=given["rate"], padding=given.get("padding", 0))
    words = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(words), sys.stdin)
    async with asyncio.TaskGroup() as group:
        while word := (await words.readline()).decode().split():
            match word:
                case ["go"]:
                    group.create_task(publisher.run())
                case ["go", number]:
                    await publisher.fill(int(number))
                    say({"sent": publisher.sent})
                case ["mark"]:
                    say({"sent": publisher.sent})
                    publisher.sent = 0
                case _:
                    say({"sent": publisher.sent})


def _main() -> None:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(spec()))


if __name__ == "__main__":
    _main()
