"""`python -m tests.sim --seed 0 --count 10000 --jobs 2`: simulate schedules, and print each that breaks a promise."""

import argparse
import logging
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field

from tests.chaos.checker import check
from tests.sim.schedule import Schedule
from tests.sim.world import simulate

__all__ = ("Tally", "try_seeds")

_PIECE = 50


@dataclass
class Tally:
    """What some schedules came to. `broken` are seeds with the first violation of each."""

    schedules: int = 0
    events: int = 0
    resets: int = 0
    gaps: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    broken: dict[int, str] = field(default_factory=dict)

    def add(self, other: "Tally") -> None:
        self.schedules += other.schedules
        self.events += other.events
        self.resets += other.resets
        self.gaps += other.gaps
        self.faults += other.faults
        self.outcomes += other.outcomes
        self.broken |= other.broken


def try_seeds(seeds: range) -> Tally:
    """Simulate and check these seeds."""
    logging.disable(logging.CRITICAL)
    tally = Tally()
    try:
        for seed in seeds:
            _try(seed, tally)
    finally:
        logging.disable(logging.NOTSET)
    return tally


def main() -> int:
    arguments = _arguments()
    began, total = time.monotonic(), Tally()
    last = arguments.seed + arguments.count
    pieces = [range(start, min(start + _PIECE, last)) for start in range(arguments.seed, last, _PIECE)]
    with ProcessPoolExecutor(arguments.jobs) as pool:
        for tally in pool.map(try_seeds, pieces):
            total.add(tally)
            for seed, said in tally.broken.items():
                _say(f"seed {seed}: {said}")
    took_s = time.monotonic() - began
    _say(f"{total.schedules} schedules in {took_s:.1f} s ({total.schedules / took_s:.0f} a second)")
    _say(f"{total.events} events, {total.resets} resets, {total.gaps} gaps")
    _say(f"outcomes {dict(total.outcomes)}; faults {dict(total.faults)}; {len(total.broken)} broken")
    return 1 if total.broken else 0


def _try(seed: int, tally: Tally) -> None:
    tally.schedules += 1
    try:
        report = check(simulate(Schedule.of(seed)))
    except Exception as error:  # noqa: BLE001  # whatever escaped from the worker or the edge broke the schedule
        tally.broken[seed] = f"{type(error).__name__}: {error}"
        return
    tally.events += report.events
    tally.resets += report.resets
    tally.gaps += report.gaps
    tally.faults.update(report.faults)
    tally.outcomes.update(report.outcomes)
    if report.first is not None:
        tally.broken[seed] = str(report.first)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    return parser.parse_args()


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
