"""`python -m tests.sim --schedules 10000`: simulate on every core, and print each schedule that breaks a promise.

Exits with 1 after a violation, and also when some kind of fault never struck: such a run has shown nothing.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

from tests.sim.tally import Tally, try_seeds

__all__ = ()

_PIECE = 100


def main() -> int:
    arguments = _arguments()
    last = arguments.seed + arguments.schedules
    pieces = [range(start, min(start + _PIECE, last)) for start in range(arguments.seed, last, _PIECE)]
    began, total = time.monotonic(), Tally()
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for tally in pool.map(try_seeds, pieces):
            total.add(tally)
            for seed, said in tally.broken.items():
                _say(f"seed {seed}: {said}")
    return _told(total, time.monotonic() - began, arguments.seed)


def _told(total: Tally, took_s: float, first: int) -> int:
    """Print what there was; the exit code."""
    missing = list(total.missing())
    _say(f"seeds {first} to {first + total.schedules - 1}: {total.schedules} schedules in {took_s:.1f} s, ", end="")
    _say(f"{total.schedules / took_s:.0f} a second")
    _say(f"checked {total.events} events of {total.readers} readers, {total.resets} resets, {total.gaps} gaps")
    _say(f"ended: {_counts(total.outcomes)}")
    _say(f"faults that struck: {_counts(total.faults)}")
    _say("steps that were under way when they struck:")
    for line in total.table():
        _say(f"  {line}")
    _say(f"{len(total.broken)} schedules broke a promise")
    if missing:
        _say(f"never injected: {', '.join(missing)}")
    return 1 if total.broken or missing else 0


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--schedules", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes, one a core by default")
    return parser.parse_args()


def _say(line: str, *, end: str = "\n") -> None:
    sys.stdout.write(f"{line}{end}")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
