"""Readers: many connections, one epoll loop. Counts events by their mark, and takes latencies on some connections.

Specification: `port`, `paths` (connection i asks for path i modulo their number), `connections`, `mode`: `read`, `slow`
(a kilobyte a second each) or `never` (asks, and reads nothing). Says `{"connected"}`; `mark` begins to count anew;
`report` answers what was counted since.
"""

import contextlib
import os
import resource
import select
import socket
import sys
import time
from typing import Any, Final

from services.bench.agent import say, spec
from services.bench.latency import Latencies
from services.bench.mark import MARK, newest_ns

__all__ = ("Crowd",)

_BUFFER_BYTES: Final = 256 * 1024
_SAMPLE_EVERY: Final = 8
_SLOW_BYTES, _SLOW_EVERY_S = 256, 0.25
_SLOW_RECEIVE_BYTES: Final = 4096
_TICK_S: Final = 0.05


class Crowd:
    """Connections by file descriptor, and what they have brought since the last mark."""

    def __init__(self, *, port: int, paths: list[str], connections: int, mode: str) -> None:
        self._mode = mode
        self._buffer = bytearray(_BUFFER_BYTES)
        self._epoll = select.epoll()
        self._epoll.register(sys.stdin, select.EPOLLIN)
        self._sockets: dict[int, socket.socket] = {}
        self._sampled: set[int] = set()
        self._slow_at = 0.0
        self._waiting: set[int] = set()
        self._clear()
        for number in range(connections):
            self._join(port, paths[number % len(paths)], is_sampled=number % _SAMPLE_EVERY == 0)

    def settle(self) -> None:
        """Until every connection that reads has been answered."""
        while self._waiting:
            for descriptor, _ in self._epoll.poll(_TICK_S):
                if descriptor in self._sockets:
                    self._read(descriptor)

    def run(self) -> None:
        """Until the input ends."""
        stdin = sys.stdin.fileno()
        while True:
            for descriptor, _ in self._epoll.poll(_TICK_S):
                if descriptor != stdin:
                    self._read(descriptor)
                elif not self._obey(os.read(stdin, 64)):
                    return
            if self._mode == "slow":
                self._read_slowly()

    def _join(self, port: int, path: str, *, is_sampled: bool) -> None:
        connection = socket.socket()
        if self._mode == "slow":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SLOW_RECEIVE_BYTES)
        connection.connect(("127.0.0.1", port))
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n".encode())
        connection.setblocking(False)
        descriptor = connection.fileno()
        self._sockets[descriptor] = connection
        if is_sampled:
            self._sampled.add(descriptor)
        if self._mode == "read":
            self._epoll.register(descriptor, select.EPOLLIN)
            self._waiting.add(descriptor)

    def _read(self, descriptor: int) -> None:
        try:
            count = self._sockets[descriptor].recv_into(self._buffer)
        except BlockingIOError:
            return
        except ConnectionError:
            count = 0
        if self._waiting:
            self._waiting.discard(descriptor)
        if not count:
            self._closed += 1
            self._epoll.unregister(descriptor)
            self._sockets.pop(descriptor).close()
            return
        self._reads += 1
        self._bytes += count
        self._events += self._buffer.count(MARK, 0, count)
        if descriptor in self._sampled:
            sent_ns = newest_ns(self._buffer, count)
            if sent_ns is not None:
                self._latencies_ns.append(time.time_ns() - sent_ns)

    def _read_slowly(self) -> None:
        now = time.monotonic()
        if now < self._slow_at:
            return
        self._slow_at = now + _SLOW_EVERY_S
        for connection in self._sockets.values():
            with contextlib.suppress(OSError):
                self._bytes += len(connection.recv(_SLOW_BYTES))

    def _obey(self, words: bytes) -> bool:
        if b"mark" in words:
            self._clear()
            say({"marked": True})
        if b"report" in words:
            say(self._report())
        return bool(words)

    def _clear(self) -> None:
        self._events = self._reads = self._bytes = self._closed = 0
        self._latencies_ns: list[int] = []

    def _report(self) -> dict[str, Any]:
        return {
            "events": self._events,
            "reads": self._reads,
            "bytes": self._bytes,
            "closed": self._closed,
            "latencies": Latencies.of_ns(self._latencies_ns).dump(),
        }


def _main() -> None:
    given = spec()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    crowd = Crowd(**given)
    crowd.settle()
    say({"connected": given["connections"]})
    crowd.run()


if __name__ == "__main__":
    _main()
