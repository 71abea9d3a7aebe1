"""The growth of an event's cost: with readers of one stream, with streams, and with edge processes."""

from collections.abc import Iterator
from typing import Final

from services.bench.options import Options
from services.bench.result import Result, Row, medians
from services.bench.rig import Rig
from services.bench.window import watch

__all__ = ("run",)

_READERS: Final = (1, 10, 100, 1000, 3000, 9000)
_STREAMS: Final = (10, 100, 1000, 3000, 9000)
_EDGES: Final = (1, 2, 4)
# Deliveries a second that every step is asked for, so that only one thing changes.
_DELIVERED_PER_S: Final = 18_000
_EVENTS_PER_S: Final = 3000
_MOST_RATE: Final = 50
_EDGE_READERS: Final = 1200


def run(options: Options) -> Result:
    return Result("scale", list(_rows(options)))


def _rows(options: Options) -> Iterator[Row]:
    if options.wants("readers"):
        for readers in dict.fromkeys(options.scaled(number) for number in _READERS):
            rate = min(_DELIVERED_PER_S / readers, _MOST_RATE)
            yield _step("readers", readers, options, streams=1, rate=rate, readers=readers)
    if options.wants("streams"):
        for streams in dict.fromkeys(options.scaled(number) for number in _STREAMS):
            rate = min(_EVENTS_PER_S / streams, _MOST_RATE)
            yield _step("streams", streams, options, streams=streams, rate=rate, readers=streams)
    if options.wants("edges"):
        for edges in _EDGES:
            readers = options.scaled(_EDGE_READERS)
            yield _step("edges", edges, options, streams=1, rate=15, readers=readers, edges=edges)


def _step(case: str, value: int, options: Options, *, streams: int, rate: float, readers: int, edges: int = 1) -> Row:
    with Rig() as rig:
        publisher = rig.agent("publisher", streams=streams, rate=rate, redis_url=rig.redis_url)
        paths = [f"/v1/streams/{each}/events" for each in publisher.hear(timeout_s=120)["ids"]]
        servers = [rig.edge() for _ in range(edges)]
        crowds = [
            rig.agent("crowd", port=each.port, paths=paths, connections=max(readers // edges, 1), mode="read")
            for each in servers
        ]
        for crowd in crowds:
            crowd.hear(timeout_s=120)
        publisher.tell("go")
        processes = {"edge": [each.pid for each in servers], "redis": [rig.redis.pid]}
        watch(crowds, processes, seconds=options.warm_up_s, publisher=publisher)
        figures = medians(options.runs, lambda: watch(crowds, processes, seconds=options.seconds, publisher=publisher))
        return Row(case, str(value), figures)
