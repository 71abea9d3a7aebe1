"""`python -m tests.chaos --seed 7 --seconds 60`: break things at random, and say whether a promise broke with them."""

import argparse
import asyncio
import secrets
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.cluster import QUICK, Cluster
from tests.chaos.nemesis import FAULTS
from tests.chaos.record import Place, RunLine, append_line, recorded_seeds
from tests.chaos.run import Run, Verdict

__all__ = ()


def main() -> int:
    arguments = _arguments()
    faults = _chosen(arguments.faults)
    return asyncio.run(_run(arguments, faults))


async def _run(arguments: argparse.Namespace, faults: Sequence[str]) -> int:
    seeds = _seeds(arguments)
    broken = 0
    if not seeds:
        return 0
    async with Cluster(workers=arguments.workers, edges=arguments.edges, settings=QUICK) as cluster:
        for seed in seeds:
            _say(f"seed {seed}: {arguments.seconds:.0f} s of {len(faults)} kinds of faults")
            verdict = await _one(cluster, seed, faults, arguments)
            broken += verdict.problem is not None
            if verdict.problem and not arguments.keep_going:
                break
    return 1 if broken else 0


def _seeds(arguments: argparse.Namespace) -> list[int]:
    """Those that were asked for and are not on record yet."""
    done = recorded_seeds(arguments.record) if arguments.record else frozenset()
    return [seed for seed in range(arguments.seed, arguments.seed + arguments.runs) if seed not in done]


async def _one(cluster: Cluster, seed: int, faults: Sequence[str], arguments: argparse.Namespace) -> Verdict:
    began = time.monotonic()
    path = _history_path(seed, arguments)
    run = Run(cluster, seed, path=path)
    await run.rage(seconds=arguments.seconds, faults=faults, streams=arguments.streams)
    verdict = await run.verdict()
    if arguments.record:
        took_s = time.monotonic() - began
        place = Place.here(_command(arguments))
        append_line(arguments.record, RunLine.of(verdict, place=place, seconds=arguments.seconds, took_s=took_s))
    if path and not arguments.history and not verdict.problem:
        path.unlink()
    _tell(verdict, arguments)
    return verdict


def _history_path(seed: int, arguments: argparse.Namespace) -> Path | None:
    """Where the history goes. Beside a record only those are kept that show something."""
    if arguments.history:
        return Path(arguments.history)
    record: Path | None = arguments.record
    return record.with_name(f"{record.stem}.{seed}.jsonl") if record else None


def _command(arguments: argparse.Namespace) -> str:
    faults = f" --faults {arguments.faults}" if arguments.faults else ""
    return f"python -m tests.chaos --seconds {arguments.seconds:g} --streams {arguments.streams}{faults}"


def _tell(verdict: Verdict, arguments: argparse.Namespace) -> None:
    if arguments.verbose:
        for struck in verdict.struck:
            took_s = (struck.at_ns - struck.began_ns) / 1e9
            _say(f"  {struck.fault}: {struck.said} ({took_s:.1f} s)")
    _say(f"  {verdict.report}")
    _say(f"  {'ok' if verdict.problem is None else verdict.problem}")
    if verdict.problem:
        for error in verdict.errors[:5]:
            _say(f"  {error}")


def _chosen(names: str | None) -> list[str]:
    """The faults whose names contain one of the given words."""
    words = names.split(",") if names else [""]
    found = [name for name in FAULTS if any(word in name for word in words)]
    if not found:
        raise SystemExit(f"no such fault: {names}; there are {', '.join(FAULTS)}")
    return found


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="default: a random one, printed")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long things are broken")
    parser.add_argument("--runs", type=int, default=1, help="so many seeds, one after the other")
    parser.add_argument("--faults", help="only these, by parts of their names: row_01,failover")
    parser.add_argument("--streams", type=int, default=8, help="live at the same time")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--edges", type=int, default=2)
    parser.add_argument("--history", help="write the history to this file")
    parser.add_argument(
        "--record", type=Path, help="add a line a run to this file; seeds that it has are not run again"
    )
    parser.add_argument("--keep-going", action="store_true", help="run all seeds, whatever they show")
    parser.add_argument("--verbose", "-v", action="store_true", help="name every fault")
    return parser.parse_args()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
