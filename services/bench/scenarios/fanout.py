"""Streams to readers: CPU per delivered event of edge and Redis, next to the kernel's price and to peers."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from services.bench import nchan
from services.bench.agent import Agent
from services.bench.agents.floor import floor_program
from services.bench.options import Options
from services.bench.result import Check, Result, Row, at_least, at_most, medians, ratio
from services.bench.rig import Rig
from services.bench.window import Pids, watch

__all__ = ("CASES", "Case", "run")


@dataclass(frozen=True, slots=True)
class Case:
    """`streams` with `rate` events a second each; readers are spread over them evenly."""

    name: str
    streams: int
    rate: float
    readers: int

    @property
    def delivered_per_s(self) -> float:
        return self.rate * self.readers


CASES: Final = (Case("wide", 1, 50, 1500), Case("tabs", 200, 50, 600), Case("many", 1500, 20, 1500))

Subject = Callable[[Rig, Case], "Setting"]


@dataclass(frozen=True, slots=True)
class Setting:
    """A subject that is running: who publishes (nobody for the floor), where readers go, whose CPU counts."""

    publisher: Agent | None
    port: int
    paths: Sequence[str]
    processes: Pids


def run(options: Options) -> Result:
    rows = [row for case in CASES if options.wants(case.name) for row in _rows(_scaled(case, options), options)]
    found = Result("fanout", rows)
    return Result("fanout", rows, [check for case in CASES for check in _checks(found, case)], _remarks(options))


def _rows(case: Case, options: Options) -> Iterator[Row]:
    for name, subject in _subjects(options):
        with Rig() as rig:
            yield Row(case.name, name, _measured(rig, case, subject(rig, case), options))


def _measured(rig: Rig, case: Case, setting: Setting, options: Options) -> dict[str, float]:
    crowd = rig.agent("crowd", port=setting.port, paths=setting.paths, connections=case.readers, mode="read")
    crowd.hear()
    if setting.publisher is not None:
        setting.publisher.tell("go")
    processes = {**setting.processes, "crowd": [crowd.pid]}
    watch([crowd], processes, seconds=options.warm_up_s, publisher=setting.publisher)
    figures = medians(
        options.runs, lambda: watch([crowd], processes, seconds=options.seconds, publisher=setting.publisher)
    )
    figures["delivered_share"] = figures["delivered_per_s"] / case.delivered_per_s
    figures["server_us"] = sum(figures[f"{name}_us"] for name in setting.processes)
    return figures


def _subjects(options: Options) -> Iterator[tuple[str, Subject]]:
    yield "floor", _floor
    yield "tailrace", _tailrace
    if "asgi" in options.peers:
        yield "asgi", _asgi
    if "nchan" in options.peers and nchan.is_installed():
        for name, prefix in nchan.MODES.items():
            yield name, _nchan(prefix)


def _tailrace(rig: Rig, case: Case) -> Setting:
    publisher, ids = _publisher(rig, case, redis_url=rig.redis_url)
    edge = rig.edge()
    paths = [f"/v1/streams/{each}/events?after=now" for each in ids]
    return Setting(publisher, edge.port, paths, {"edge": [edge.pid], "redis": [rig.redis.pid]})


def _asgi(rig: Rig, case: Case) -> Setting:
    publisher, ids = _publisher(rig, case, redis_url=rig.redis_url)
    peer = rig.asgi_peer()
    return Setting(
        publisher, peer.port, [f"/sub/{each}" for each in ids], {"edge": [peer.pid], "redis": [rig.redis.pid]}
    )


def _nchan(prefix: str) -> Subject:
    def start(rig: Rig, case: Case) -> Setting:
        server = nchan.start(rig)
        publisher, ids = _publisher(rig, case, port=server.port, path=f"/{prefix}pub/s%d")
        paths = [f"/{prefix}sub/s{each}" for each in ids]
        return Setting(publisher, server.port, paths, {"edge": [server.pid], "redis": [rig.redis.pid]})

    return start


def _floor(rig: Rig, case: Case) -> Setting:
    program = floor_program(rig.folder)
    if program is None:
        agent = rig.agent("floor", readers=case.readers, rate=case.rate)
    else:
        agent = rig.program([str(program), str(case.readers), str(case.rate)])
    return Setting(None, agent.hear()["port"], ["/"], {"edge": [agent.pid]})


def _publisher(rig: Rig, case: Case, **where: Any) -> tuple[Agent, list[str]]:
    publisher = rig.agent("publisher", streams=case.streams, rate=case.rate, **where)
    ids: list[str] = publisher.hear()["ids"]
    return publisher, ids


def _scaled(case: Case, options: Options) -> Case:
    return Case(case.name, options.scaled(case.streams), case.rate, options.scaled(case.readers))


def _checks(found: Result, case: Case) -> Iterator[Check]:
    ours, floor = found.find(case.name, "tailrace"), found.find(case.name, "floor")
    peer, memory = found.find(case.name, "nchan"), found.find(case.name, "nchan memory")
    if ours is None or floor is None:
        return
    if case.name == "wide":
        yield at_most("wide: edge / floor", ratio(ours["edge_us"], floor["edge_us"]), 1.5)
    if peer is not None and case.name in _OF_NCHAN:
        yield at_most(
            f"{case.name}: edge + Redis / nchan's", ratio(ours["server_us"], peer["server_us"]), _OF_NCHAN[case.name]
        )
    if memory is not None and case.name == "many":
        yield at_least("many: share delivered", ours["delivered_share"], 0.99)
        yield at_most("many: edge / nchan's in memory", ratio(ours["edge_us"], memory["edge_us"]), 0.8)


_OF_NCHAN: Final = {"wide": 0.75, "tabs": 0.5}


def _remarks(options: Options) -> list[str]:
    if "nchan" in options.peers and not nchan.is_installed():
        return ["nchan is not installed (Debian: nginx libnginx-mod-nchan); its rows are missing"]
    return []
