"""All readers of an edge are cut at once and come back to another one with their cursors."""

from typing import Final

from services.bench.options import Options
from services.bench.result import Result, Row, at_least, at_most, medians
from services.bench.rig import Rig
from services.bench.usage import cpu_s

__all__ = ("run",)

_READERS, _STREAMS, _RATE = 5000, 500, 2
_STORM_S: Final = 90.0


def run(options: Options) -> Result:
    with Rig() as rig:
        readers, streams = options.scaled(_READERS), options.scaled(_STREAMS)
        publisher = rig.agent("publisher", streams=streams, rate=_RATE, redis_url=rig.redis_url)
        paths = [f"/v1/streams/{each}/events" for each in publisher.hear()["ids"]]
        edges = [rig.edge(), rig.edge()]
        publisher.tell("go")
        storm = rig.agent("storm", port=edges[0].port, paths=paths, connections=readers)
        storm.hear(timeout_s=_STORM_S)
        turns = iter(range(1, 2 * options.runs + 1))

        def cut() -> dict[str, float]:
            edge = edges[next(turns) % 2]
            processes = {"edge": [edge.pid], "redis": [rig.redis.pid]}
            before = {name: cpu_s(pids) for name, pids in processes.items()}
            figures: dict[str, float] = storm.ask(f"cut {edge.port}", timeout_s=_STORM_S)
            used = {f"{name}_s": cpu_s(pids) - before[name] for name, pids in processes.items()}
            return figures | used | {"per_s_and_core": readers / max(used["edge_s"], 0.01)}

        row = Row(f"{readers} readers of {streams} streams", "tailrace", medians(options.runs, cut))
    checks = [
        at_most("all caught up s", row.figures["all_s"], 5),
        at_most("missing", row.figures["missing"] + row.figures["stranded"], 0),
        at_most("twice", row.figures["twice"], 0),
        at_least("resumed per s and core", row.figures["per_s_and_core"], 2000),
    ]
    return Result("resume-storm", [row], checks)
