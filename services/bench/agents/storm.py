"""Readers that check every id they get, are cut all at once, and come back elsewhere with their cursors.

Specification: `port`, `paths`, `connections`. Says `{"connected"}` when every reader has had an event; `cut PORT`
closes all connections, opens them there, and answers when every reader has had an event made after the cut.
"""

import re
import resource
import select
import socket
import sys
import time
from dataclasses import dataclass, field
from typing import Any, Final

from services.bench.agent import say, spec
from services.bench.mark import newest_ns

__all__ = ("Storm",)

_EVENT: Final = re.compile(rb'data: \{"type":"text","delta":"([^"]*)"\}\nid: ((\d+)-(\d+)\.[0-9a-f]{8})\n\n')
_BUFFER_BYTES: Final = 64 * 1024
_PATIENCE_S: Final = 30.0


@dataclass(slots=True)
class _Reader:
    path: str
    connection: socket.socket | None = None
    rest: bytes = b""
    cursor: str = ""
    offset: int = -1
    is_waiting: bool = True
    faults: list[str] = field(default_factory=list)


class Storm:
    """All readers, in one epoll loop."""

    def __init__(self, *, port: int, paths: list[str], connections: int) -> None:
        self._epoll = select.epoll()
        self._readers = [_Reader(paths[number % len(paths)]) for number in range(connections)]
        self._by_descriptor: dict[int, _Reader] = {}
        self._waiting = 0
        self.refused = 0
        self._connect(port)

    def settle(self, *, after_ns: int = 0) -> list[float]:
        """Until every reader has had an event made after a time; how long each took, in seconds."""
        self._waiting, began, took = len(self._readers), time.monotonic(), []
        for reader in self._readers:
            reader.is_waiting = True
        while self._waiting and time.monotonic() - began < _PATIENCE_S:
            for descriptor, _ in self._epoll.poll(0.05):
                if self._read(self._by_descriptor[descriptor], after_ns):
                    took.append(time.monotonic() - began)
        return took

    def cut(self, port: int) -> dict[str, Any]:
        """The storm. Answers times in seconds and what went wrong."""
        for reader in self._readers:
            if reader.connection is not None:
                self._epoll.unregister(reader.connection)
                reader.connection.close()
        self._by_descriptor.clear()
        cut_ns, began = time.time_ns(), time.monotonic()
        self._connect(port)
        connected_s = time.monotonic() - began
        took = sorted(each + connected_s for each in self.settle(after_ns=cut_ns))
        faults = [fault for reader in self._readers for fault in reader.faults]
        return {
            "all_s": took[-1] if not self._waiting else _PATIENCE_S,
            "half_s": took[len(took) // 2] if took else _PATIENCE_S,
            "stranded": self._waiting,
            "missing": faults.count("missing"),
            "twice": faults.count("twice"),
            "refused": self.refused,
        }

    def _connect(self, port: int) -> None:
        for reader in self._readers:
            reader.rest = b""
            reader.connection = socket.create_connection(("127.0.0.1", port))
            cursor = f"Last-Event-ID: {reader.cursor}\r\n" if reader.cursor else ""
            reader.connection.sendall(
                f"GET {reader.path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{cursor}\r\n".encode()
            )
            reader.connection.setblocking(False)
            self._by_descriptor[reader.connection.fileno()] = reader
            self._epoll.register(reader.connection, select.EPOLLIN)

    def _read(self, reader: _Reader, after_ns: int) -> bool:
        """Take what has come; whether this is what the reader was waiting for."""
        assert reader.connection is not None
        try:
            data = reader.connection.recv(_BUFFER_BYTES)
        except BlockingIOError:
            return False
        except ConnectionError:
            data = b""
        if not data:
            self.refused += 1
            self._epoll.unregister(reader.connection)
            return False
        received, end = reader.rest + data, 0
        for event in _EVENT.finditer(received):
            _check(reader, event)
            end = event.end()
        newest = newest_ns(received, end) if end else None
        reader.rest = received[end:]
        if not reader.is_waiting or newest is None or newest < after_ns:
            return False
        reader.is_waiting = False
        self._waiting -= 1
        return True


def _check(reader: _Reader, event: re.Match[bytes]) -> None:
    """A size of text and two offsets: anything missing or given twice shows."""
    offset, size = int(event[4]), len(event[1])
    if reader.offset >= 0 and offset - size != reader.offset:
        reader.faults.append("missing" if offset - size > reader.offset else "twice")
    reader.cursor, reader.offset = event[2].decode(), offset


def _main() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    given = spec()
    storm = Storm(**given)
    storm.settle()
    say({"connected": given["connections"]})
    for line in sys.stdin:
        say(storm.cut(int(line.split()[1])))
        storm.refused = 0


if __name__ == "__main__":
    _main()
