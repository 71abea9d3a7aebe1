"""The price of our appends in Redis, next to the bare XADD, and of an edge's tail of many streams."""

from typing import Final

from services.bench.options import Options
from services.bench.result import Result, Row, at_most, medians, ratio
from services.bench.rig import Rig
from services.bench.window import watch

__all__ = ("run",)

_STREAMS, _RATE = 200, 50
_TAILED, _TAILED_RATE = 1500, 20


def run(options: Options) -> Result:
    rows = [_appends(options, is_bare=is_bare) for is_bare in (False, True)]
    rows += [_tailed(options, with_edge=with_edge) for with_edge in (False, True)]
    ours, bare, alone, tailed = (row.figures for row in rows)
    checks = [
        at_most("Redis µs per append", ours["redis_us"], 8),
        at_most("the same / bare XADD", ratio(ours["redis_us"], bare["redis_us"]), 10),
        at_most("Redis cores for one edge's tail", tailed["redis_cores"] - alone["redis_cores"], 0.25),
    ]
    return Result("append", rows, checks)


_NOBODY: Final = "no readers"


def _appends(options: Options, *, is_bare: bool) -> Row:
    with Rig() as rig:
        publisher = rig.agent(
            "publisher", streams=options.scaled(_STREAMS), rate=_RATE, redis_url=rig.redis_url, bare=is_bare
        )
        publisher.hear()
        publisher.tell("go")
        processes = {"redis": [rig.redis.pid], "writer": [publisher.pid]}
        watch([], processes, seconds=options.warm_up_s, publisher=publisher)
        figures = medians(
            options.runs, lambda: watch([], processes, seconds=options.seconds, publisher=publisher, per="published")
        )
        return Row(_NOBODY, "XADD" if is_bare else "tailrace", figures)


def _tailed(options: Options, *, with_edge: bool) -> Row:
    """The same bare writes without and with an edge that tails them: the difference is the tail's."""
    with Rig() as rig:
        streams = options.scaled(_TAILED)
        publisher = rig.agent("publisher", streams=streams, rate=_TAILED_RATE, redis_url=rig.redis_url, bare=True)
        paths = [f"/v1/streams/{each}/events" for each in publisher.hear()["ids"]]
        processes = {"redis": [rig.redis.pid]}
        crowds = []
        if with_edge:
            edge = rig.edge()
            processes["edge"] = [edge.pid]
            crowds = [rig.agent("crowd", port=edge.port, paths=paths, connections=streams, mode="read")]
            crowds[0].hear()
        publisher.tell("go")
        watch(crowds, processes, seconds=options.warm_up_s, publisher=publisher)
        figures = medians(
            options.runs,
            lambda: watch(crowds, processes, seconds=options.seconds, publisher=publisher, per="published"),
        )
        return Row(f"{streams} streams", "tailed" if with_edge else "not tailed", figures)
