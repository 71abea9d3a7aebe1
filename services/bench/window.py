"""A stretch of time in which readers are counted and processes are watched."""

import time
from collections.abc import Mapping, Sequence
from typing import Literal

from services.bench.agent import Agent
from services.bench.latency import Latencies
from services.bench.usage import cpu_s

__all__ = ("Pids", "watch")

Pids = Mapping[str, Sequence[int]]


def watch(
    crowds: Sequence[Agent],
    processes: Pids,
    *,
    seconds: float,
    publisher: Agent | None = None,
    per: Literal["delivered", "published"] = "delivered",
) -> dict[str, float]:
    """Measure for `seconds`: events delivered (and published) a second, latencies, and CPU by name of process.

    `NAME_us` is CPU per event delivered (or published) in µs, `NAME_cores` CPU per second of time.
    """
    for agent in (*crowds, *filter(None, [publisher])):
        agent.ask("mark")
    before = {name: cpu_s(pids) for name, pids in processes.items()}
    began = time.monotonic()
    time.sleep(seconds)
    used = {name: cpu_s(pids) - before[name] for name, pids in processes.items()}
    lasted = time.monotonic() - began
    reports = [crowd.ask("report") for crowd in crowds]
    events = sum(report["events"] for report in reports)
    latencies = Latencies.merged(report["latencies"] for report in reports)
    figures = {"delivered_per_s": events / lasted, "closed": sum(report["closed"] for report in reports)}
    if publisher is not None:
        figures["published_per_s"] = publisher.ask("report")["sent"] / lasted
    divisor = max(figures[f"{per}_per_s"] * lasted, 1)
    for name, seconds_used in used.items():
        figures[f"{name}_us"] = seconds_used / divisor * 1e6
        figures[f"{name}_cores"] = seconds_used / lasted
    for percent in (50, 99):
        figures[f"p{percent}_ms"] = latencies.percentile_ms(percent)
    return figures
