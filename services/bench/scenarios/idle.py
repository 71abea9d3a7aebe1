"""Readers of streams on which nothing happens: what each costs an edge in memory and CPU."""

import time
from typing import Final

from services.bench.options import Options
from services.bench.result import Result, Row, at_most
from services.bench.rig import Process, Rig
from services.bench.usage import cpu_s, kernel_tcp_bytes, resident_bytes

__all__ = ("run",)

_READERS, _STREAMS = 9000, 900
_CONNECT_S: Final = 120.0


def run(options: Options) -> Result:
    readers, streams = options.scaled(_READERS), options.scaled(_STREAMS)
    with Rig() as rig:
        publisher = rig.agent("publisher", streams=streams, rate=1, redis_url=rig.redis_url)
        paths = [f"/v1/streams/{each}/events" for each in publisher.hear()["ids"]]
        edge = rig.edge()
        _warm(rig, edge, paths)
        before, kernel, used = resident_bytes(edge.pid), kernel_tcp_bytes(), cpu_s([edge.pid])
        crowd = rig.agent("crowd", port=edge.port, paths=paths, connections=readers, mode="read")
        crowd.hear(timeout_s=_CONNECT_S)
        connecting_s = cpu_s([edge.pid]) - used
        time.sleep(options.warm_up_s)
        redis, used, began = cpu_s([rig.redis.pid]), cpu_s([edge.pid]), time.monotonic()
        time.sleep(options.seconds)
        lasted = time.monotonic() - began
        figures = {
            "resident_kb_each": (resident_bytes(edge.pid) - before) / readers / 1024,
            "kernel_kb_each": (kernel_tcp_bytes() - kernel) / readers / 1024,
            "connect_us_each": connecting_s / readers * 1e6,
            "edge_cores": (cpu_s([edge.pid]) - used) / lasted,
            "redis_cores": (cpu_s([rig.redis.pid]) - redis) / lasted,
        }
    row = Row(f"{readers} readers of {streams} streams", "tailrace", figures)
    return Result("idle", [row], [at_most("resident KB each", figures["resident_kb_each"], 16)])


def _warm(rig: Rig, edge: Process, paths: list[str]) -> None:
    """A few readers that come and go, so that what is loaded on first use is not counted as theirs."""
    crowd = rig.agent("crowd", port=edge.port, paths=paths, connections=20, mode="read")
    crowd.hear()
    crowd.close()
