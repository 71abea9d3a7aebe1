"""Readers that take little or nothing, and what they do to the others."""

from services.bench.agent import Agent
from services.bench.options import Options
from services.bench.result import Result, Row, at_most, medians
from services.bench.rig import Process, Rig
from services.bench.usage import kernel_tcp_bytes, resident_bytes
from services.bench.window import watch

__all__ = ("run",)

_EACH = 500
_RATE = 50
# About 80 KB a second for each reader: the buffers of one that does not read are full within three seconds.
_PADDING = 1500


def run(options: Options) -> Result:
    with Rig() as rig:
        publisher = rig.agent("publisher", streams=1, rate=_RATE, padding=_PADDING, redis_url=rig.redis_url)
        path = f"/v1/streams/{publisher.hear()['ids'][0]}/events?after=now"
        edge = rig.edge()
        each = options.scaled(_EACH)
        normal = _crowd(rig, edge, path, each, "read")
        publisher.tell("go")
        alone = _watched(rig, edge, normal, publisher, options)
        resident, kernel = resident_bytes(edge.pid), kernel_tcp_bytes()
        crowds = [_crowd(rig, edge, path, each, mode) for mode in ("never", "slow")]
        watch([normal], {}, seconds=options.warm_up_s, publisher=publisher)
        among = _watched(rig, edge, normal, publisher, options)
        held = resident_bytes(edge.pid) - resident + kernel_tcp_bytes() - kernel
        among |= {"held_kb_each": held / (len(crowds) * each) / 1024}
    rows = [Row("alone", "tailrace", alone), Row(f"with {each} that never read, {each} slow", "tailrace", among)]
    checks = [
        at_most("p99 with them / without", among["p99_ms"] / max(alone["p99_ms"], 0.1), 1.5),
        at_most("KB held for each that does not read", among["held_kb_each"], 256),
    ]
    return Result("slow-readers", rows, checks)


def _crowd(rig: Rig, edge: Process, path: str, connections: int, mode: str) -> Agent:
    crowd = rig.agent("crowd", port=edge.port, paths=[path], connections=connections, mode=mode)
    crowd.hear()
    return crowd


def _watched(rig: Rig, edge: Process, crowd: Agent, publisher: Agent, options: Options) -> dict[str, float]:
    processes = {"edge": [edge.pid], "redis": [rig.redis.pid]}
    watch([crowd], processes, seconds=options.warm_up_s, publisher=publisher)
    return medians(options.runs, lambda: watch([crowd], processes, seconds=options.seconds, publisher=publisher))
