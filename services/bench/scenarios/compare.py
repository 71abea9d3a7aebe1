"""Streaming beside not streaming: the same answers over the chat API, whole and word by word."""

import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

import orjson

from services.bench.latency import Latencies
from services.bench.mark import MARK
from services.bench.options import Options
from services.bench.result import Result, Row
from services.bench.rig import MODEL, Process, Rig
from services.bench.usage import resident_bytes
from services.console.failure import Failure

__all__ = ("run",)

_CLIENTS: Final = 50
_TOKENS: Final = 300
_RATE: Final = 100.0
_DEADLINE_S: Final = 60.0
_SAMPLE_S: Final = 0.02
_WORD: Final = "word by word"
_WHOLE: Final = "whole"


@dataclass(frozen=True, slots=True)
class _Asked:
    """One answer: until its first and its last word, in ns, and the most bytes of it that its client had to hold."""

    first_ns: int
    last_ns: int
    held_bytes: int


def run(options: Options) -> Result:
    """Ask both ways in turn, each time with all clients at once."""
    with Rig() as rig:
        rig.provider(rate=_RATE, tokens=options.scaled(_TOKENS))
        edge = rig.edge()
        rig.worker()
        _asked(edge, is_streaming=True)
        rows = [
            _row(f"{name}, run {number}", edge, options, is_streaming=name == _WORD)
            for number in range(1, options.runs + 1)
            for name in (_WORD, _WHOLE)
        ]
    return Result("compare", rows, [])


def _row(name: str, edge: Process, options: Options, *, is_streaming: bool) -> Row:
    clients = options.scaled(_CLIENTS)
    before = resident_bytes(edge.pid)
    with _peak_of(edge) as peak, ThreadPoolExecutor(clients) as pool:
        answers = list(pool.map(lambda _: _asked(edge, is_streaming=is_streaming), range(clients)))
    first, last = ([getattr(each, field) for each in answers] for field in ("first_ns", "last_ns"))
    figures = {
        "first_p50_ms": Latencies.of_ns(first).percentile_ms(50),
        "first_p99_ms": Latencies.of_ns(first).percentile_ms(99),
        "last_p50_ms": Latencies.of_ns(last).percentile_ms(50),
        "last_p99_ms": Latencies.of_ns(last).percentile_ms(99),
        "edge_kb_a_client": max(0, peak[0] - before) / clients / 1000,
        "client_held_kb": max(each.held_bytes for each in answers) / 1000,
    }
    return Row(f"{clients} clients", name, figures)


@contextmanager
def _peak_of(edge: Process) -> Iterator[list[int]]:
    """The most memory that the edge has, in the one element of the list, looked at again and again."""
    peak, is_over = [0], threading.Event()

    def look() -> None:
        while not is_over.wait(_SAMPLE_S):
            peak[0] = max(peak[0], resident_bytes(edge.pid))

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield peak
    finally:
        is_over.set()
        thread.join()


def _asked(edge: Process, *, is_streaming: bool) -> _Asked:
    """Ask and read to the end. Who streams lets go of each piece; who does not holds all of it until the end."""
    body = orjson.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": is_streaming})
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    request = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    began, first_ns, held, most = time.perf_counter_ns(), 0, b"", 0
    with socket.create_connection(("127.0.0.1", edge.port), timeout=_DEADLINE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request)
        while data := connection.recv(65_536):
            held += data
            if not first_ns and MARK in held:
                first_ns = time.perf_counter_ns() - began
            most = max(most, len(held))
            if is_streaming:
                held = held[-len(MARK) :]
    if not first_ns:
        raise Failure(f"{edge.name} answered without a word: {held[:200]!r}")
    return _Asked(first_ns, time.perf_counter_ns() - began, most)
