"""`python -m tests.chaos.figures`: what readers notice of a dead worker, a dead master, a deploy.

Leases are those of the default settings. Each history is checked like any other. Exits with 1 if a promise broke or a
bound was missed.
"""

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Final

from tests.chaos.checker import NO_LIMITS
from tests.chaos.cluster import Cluster
from tests.chaos.faults.edges import DrainEdge
from tests.chaos.faults.fault import lasting
from tests.chaos.faults.redis import KillMaster
from tests.chaos.faults.workers import DrainWorker, KillWorker
from tests.chaos.log import place
from tests.chaos.member import Member
from tests.chaos.nemesis import inject
from tests.chaos.pauses import percentile
from tests.chaos.record import FigureLine, Place, append_line
from tests.chaos.run import Run, Verdict, scenario
from tests.chaos.waits import Interruption, longest_pauses, next_events_s
from tests.support.history import Struck
from tests.support.waiting import eventually

__all__ = ()

# The lease, its heartbeat and the look of the sweeper stay as they are by default. A stream here may meet more kills
# than anybody's would, so it is given more attempts.
_SETTINGS: Final[dict[str, str | float]] = {"max_attempts": 20}
_NEXT_EVENT_S, _RESUME_S = 15.0, 8.0
_KILL_EVERY_S = 3.0
_PATIENCE_S = 60.0
_POLICIES: Final = ("continue", "restart", None)


async def kills(seed: int, *, kills: int) -> FigureLine:
    """kill -9 of the busiest of four workers, again and again, each time with several streams half-way."""
    async with Cluster(workers=4, edges=2, settings=_SETTINGS) as cluster:
        run = Run(cluster, seed)
        struck: list[Interruption] = []
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            load = group.create_task(_load(run, over, streams=24, seconds=(10, 20), readers=1))
            for _ in range(kills):
                await lasting(_KILL_EVERY_S)
                victim = await _kill_somebody(run, struck)
                group.create_task(victim.start())
            over.set()
            await run.to_the_end(load)
        verdict = await run.verdict()
    waits = next_events_s(run.history.records, struck)
    values = {
        "kills": len(struck),
        "streams that lost their worker": len(waits),
        **_spread("next event after", waits),
        "promised, s": _NEXT_EVENT_S,
    }
    return _figure(
        "kill -9 of a worker in mid-stream", [verdict], values, is_kept=percentile(waits, 0.99) <= _NEXT_EVENT_S
    )


async def failovers(seed: int, *, times: int) -> FigureLine:
    """kill -9 of the Redis master with 50 streams half-way, more than once; each time with a history of its own."""
    verdicts, pauses = [], []
    async with Cluster(workers=2, edges=2, settings=_SETTINGS) as cluster:
        for number in range(times):
            await cluster.heal()
            run = Run(cluster, seed + number)
            scripts = [run.workload.script(seconds=14, rate=10) for _ in range(50)]
            verdicts.append(
                await scenario(run, KillMaster(), scripts=scripts, limits=NO_LIMITS, policies=_POLICIES, readers=1)
            )
            pauses += [pause.lasted_ns / 1e9 for pause in longest_pauses(run.history.records).values()]
    values = {
        "master kills": times,
        "live streams at each": 50,
        **_spread("longest pause of a reader,", pauses),
        "promised, s": _RESUME_S,
    }
    return _figure("kill -9 of the Redis master under Sentinel", verdicts, values, is_kept=max(pauses) <= _RESUME_S)


async def rolling(seed: int, *, rounds: int) -> FigureLine:
    """SIGTERM and a new start for every worker and every edge in turn, under load, and all of it again."""
    async with Cluster(workers=2, edges=2, settings=_SETTINGS) as cluster:
        run = Run(cluster, seed)
        over = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            load = group.create_task(_load(run, over, streams=20, seconds=(3, 40), readers=2))
            await lasting(_KILL_EVERY_S)
            for _ in range(rounds):
                for worker in cluster.workers:
                    await inject(DrainWorker(worker), run.scene)
                for edge in cluster.edges:
                    await inject(DrainEdge(edge), run.scene)
            over.set()
            await run.to_the_end(load)
        verdict = await run.verdict()
    pauses = [pause.lasted_ns / 1e9 for pause in longest_pauses(run.history.records).values()]
    values = {
        "restarts of a process": len(verdict.struck),
        "rounds": rounds,
        **_spread("longest pause of a reader,", pauses),
    }
    is_invisible = verdict.report.outcomes == {"done": verdict.report.readers}
    return _figure("rolling restart of all workers and edges under load", [verdict], values, is_kept=is_invisible)


async def _load(run: Run, over: asyncio.Event, *, streams: int, seconds: tuple[float, float], readers: int) -> None:
    """So many streams at any time, each followed by some readers, until it is over; then to the end of those."""

    async def one_after_the_other(number: int) -> None:
        await asyncio.sleep(run.chance.uniform(0, 2))
        while not over.is_set():
            script = run.workload.script(seconds=run.chance.uniform(*seconds), rate=10)
            await run.workload.follow(script, policy=_POLICIES[number % len(_POLICIES)], readers=readers)

    async with asyncio.TaskGroup() as group:
        for number in range(streams):
            group.create_task(one_after_the_other(number))


async def _kill_somebody(run: Run, struck: list[Interruption]) -> Member:
    """kill -9 of the worker that holds most, as soon as one holds anything that has gone on since its last loss."""
    found: list[tuple[Member, dict[str, int]]] = []

    async def may_die() -> bool:
        found[:] = await _who_may_die(run, struck)
        return bool(found)

    await eventually(may_die, within_s=_PATIENCE_S, every_s=0.1)
    victim, attempts = max(found, key=lambda each: len(each[1]))
    began_ns = run.history.now()
    await victim.kill()
    struck.append(Interruption(began_ns, attempts))
    said = f"{victim.name} with {len(attempts)} streams"
    record = Struck(run.history.now(), KillWorker.row, took_effect=True, said=said, began_ns=began_ns)
    run.history.add(record)
    return victim


async def _who_may_die(run: Run, struck: Sequence[Interruption]) -> list[tuple[Member, dict[str, int]]]:
    """Workers, with the attempts of the streams that they hold. The bound is for one fault at a time: see above."""
    metas, heard = await run.cluster.live(), _newest_attempts(run)
    waiting = {name for each in struck for name, attempt in each.attempts.items() if heard.get(name, 0) <= attempt}
    found = []
    for worker in run.cluster.workers:
        held = {meta.id: meta.attempt for meta in metas if f":{worker.pid}:" in meta.worker}
        is_heard = all(heard.get(name, 0) >= attempt for name, attempt in held.items())
        if worker.is_running and held and is_heard and not waiting & held.keys():
            found.append((worker, held))
    return found


def _newest_attempts(run: Run) -> dict[str, int]:
    """The newest attempt that readers have heard of, for each stream."""
    heard: dict[str, int] = {}
    for reader in run.workload.readers:
        where = place(reader.cursor) if reader.cursor else None
        if where is not None:
            heard[reader.stream_id] = max(heard.get(reader.stream_id, 0), where.attempt)
    return heard


def _spread(what: str, values: Sequence[float]) -> dict[str, float]:
    shares = {"p50": 0.5, "p99": 0.99, "most": 1.0}
    return {f"{what} {name} s": round(percentile(values, share), 2) for name, share in shares.items()}


def _figure(name: str, verdicts: Sequence[Verdict], values: dict[str, float], *, is_kept: bool) -> FigureLine:
    reports = [verdict.report for verdict in verdicts]
    outcomes: Counter[str] = Counter()
    for report in reports:
        outcomes.update(report.outcomes)
    counts: dict[str, float | str] = {
        "streams": sum(report.streams for report in reports),
        "readers": sum(report.readers for report in reports),
        "events checked": sum(report.events for report in reports),
        "resets": sum(report.resets for report in reports),
        "violations": sum(len(report.violations) for report in reports),
        "readers ended": ", ".join(f"{how} {outcomes[how]}" for how in sorted(outcomes)),
    }
    problems = [verdict.problem for verdict in verdicts if verdict.problem]
    if not is_kept:
        problems.append("the bound was missed")
    where = Place.here("python -m tests.chaos.figures")
    return FigureLine(where, name, {**values, **counts}, not problems, "; ".join(problems))


_FIGURES: Final[dict[str, Callable[[argparse.Namespace], Awaitable[FigureLine]]]] = {
    "kills": lambda arguments: kills(arguments.seed, kills=arguments.kills),
    "failovers": lambda arguments: failovers(arguments.seed, times=arguments.failovers),
    "rolling": lambda arguments: rolling(arguments.seed, rounds=arguments.rounds),
}


async def _run(arguments: argparse.Namespace) -> int:
    missed = 0
    for name in arguments.only:
        line = await _FIGURES[name](arguments)
        missed += not line.holds
        if arguments.record:
            append_line(arguments.record, line)
        _say(f"{line.name}: {'holds' if line.holds else line.problem}")
        for key, value in line.values.items():
            _say(f"  {key}: {value}")
    return 1 if missed else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.figures", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=_FIGURES, default=list(_FIGURES), help="default: all of them")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=32)
    parser.add_argument("--failovers", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--record", type=Path, help="add the results to this file")
    return parser.parse_args()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(asyncio.run(_run(_arguments())))
