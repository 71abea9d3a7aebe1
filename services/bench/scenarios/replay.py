"""Readers that come late and take a whole stream at once, from Redis."""

import time
from typing import Final

from services.bench.options import Options
from services.bench.result import Result, Row, medians
from services.bench.rig import Process, Rig
from services.bench.usage import cpu_s
from services.console.failure import Failure

__all__ = ("run",)

_READERS, _STREAMS, _EVENTS = 100, 10, 5000
_PATIENCE_S: Final = 120.0


def run(options: Options) -> Result:
    readers, streams, events = (options.scaled(number) for number in (_READERS, _STREAMS, _EVENTS))
    with Rig() as rig:
        publisher = rig.agent("publisher", streams=streams, rate=1, redis_url=rig.redis_url)
        paths = [f"/v1/streams/{each}/events" for each in publisher.hear()["ids"]]
        publisher.ask(f"go {events}", timeout_s=_PATIENCE_S)
        edge = rig.edge()
        figures = medians(options.runs, lambda: _replayed(rig, edge, paths, readers=readers, events=events))
    return Result("replay", [Row(f"{readers} readers, {events} events each", "tailrace", figures)])


def _replayed(rig: Rig, edge: Process, paths: list[str], *, readers: int, events: int) -> dict[str, float]:
    processes = {"edge": [edge.pid], "redis": [rig.redis.pid]}
    before = {name: cpu_s(pids) for name, pids in processes.items()}
    began = time.monotonic()
    with rig.agent("crowd", port=edge.port, paths=paths, connections=readers, mode="read") as crowd:
        crowd.hear()
        while (seen := crowd.ask("report")["events"]) < readers * events:
            if time.monotonic() - began > _PATIENCE_S:
                raise Failure(f"only {seen} of {readers * events} events were replayed")
            time.sleep(0.02)  # counted in another process: it can only be asked again
        lasted = time.monotonic() - began
    used = {f"{name}_us": (cpu_s(pids) - before[name]) / seen * 1e6 for name, pids in processes.items()}
    return {"delivered_per_s": seen / lasted} | used
