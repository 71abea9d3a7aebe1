"""A process whose wall clock is wrong: `python -m tests.chaos.skew 3600 worker` runs a worker that is an hour ahead.

Only what asks `time.time` is deceived, which is how Python asks. Whatever decides about streams must not. Nothing is
imported here that might keep the true clock: arq takes `time.time` at its import.
"""

import sys
import time

__all__ = ()


def main() -> None:
    ahead_s, real = float(sys.argv.pop(1)), time.time
    time.time = lambda: real() + ahead_s
    real_ns = time.time_ns
    time.time_ns = lambda: real_ns() + round(ahead_s * 1e9)
    from services.cli.main import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
