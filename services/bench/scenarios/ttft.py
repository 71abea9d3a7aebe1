"""The delay that Tailrace adds to the first token: through edge, queue and worker, compared with the provider alone."""

import random
import socket
import time
from typing import Final

import orjson

from services.bench.latency import Latencies
from services.bench.mark import MARK
from services.bench.options import Options
from services.bench.result import Result, Row, at_most
from services.bench.rig import MODEL, Process, Rig
from services.console.failure import Failure

__all__ = ("run",)

_TURNS: Final = 200
_WARM_UP: Final = 20
_DEADLINE_S: Final = 10.0
_PAUSE_S: Final = (0.02, 0.06)


def run(options: Options) -> Result:
    """Ask both ways in turn, so that whatever disturbs the machine disturbs both."""
    with Rig() as rig:
        provider = rig.provider(rate=0, tokens=1)
        edge = rig.edge()
        rig.worker()
        rows = [_measured(number, provider, edge, options) for number in range(1, options.runs + 1)]
    p50 = sorted(row.figures["added_p50_ms"] for row in rows)[len(rows) // 2]
    p99 = sorted(row.figures["added_p99_ms"] for row in rows)[len(rows) // 2]
    return Result("ttft", rows, [at_most("added p50 ms", p50, 10), at_most("added p99 ms", p99, 30)])


def _measured(number: int, provider: Process, edge: Process, options: Options) -> Row:
    for _ in range(options.scaled(_WARM_UP)):
        _asked_directly(provider), _asked_through(edge)
    direct, through, added = [], [], []
    for _ in range(options.scaled(_TURNS)):
        # As people ask, neither back to back nor in step with any clock of ours.
        time.sleep(random.uniform(*_PAUSE_S))
        direct.append(_asked_directly(provider))
        through.append(_asked_through(edge))
        added.append(through[-1] - direct[-1])
    ways = {"direct": direct, "through": through, "added": added}
    figures = {f"{name}_p{percent}_ms": _ms(times, percent) for name, times in ways.items() for percent in (50, 99)}
    return Row("first token", f"run {number}", figures)


def _ms(times_ns: list[int], percent: float) -> float:
    return Latencies.of_ns(times_ns).percentile_ms(percent)


def _asked_directly(provider: Process) -> int:
    body = orjson.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True})
    return _first_token_ns(provider, _post("/v1/chat/completions", body))


def _asked_through(edge: Process) -> int:
    body = orjson.dumps({"model": MODEL, "messages": [{"role": "user", "content": "hi"}]})
    return _first_token_ns(edge, _post("/v1/streams", body))


def _post(path: str, body: bytes) -> bytes:
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _first_token_ns(server: Process, request: bytes) -> int:
    """From before the connection to the first text of the answer."""
    began = time.perf_counter_ns()
    with socket.create_connection(("127.0.0.1", server.port), timeout=_DEADLINE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(request)
        received = b""
        while MARK not in received:
            data = connection.recv(65_536)
            if not data:
                raise Failure(f"{server.name} answered without a token: {received[:200]!r}")
            received += data
        return time.perf_counter_ns() - began
