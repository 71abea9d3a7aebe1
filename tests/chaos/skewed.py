"""A process whose wall clock is wrong: `python -m tests.chaos.skewed 3600 worker` runs a worker that is an hour ahead.

Only what asks `time.time` is deceived, which is how Python asks. Whatever decides about leases must not.
"""

import sys
import time

from tests.support.edge import EdgeProcess
from tests.support.service import ours
from tests.support.worker import WorkerProcess

__all__ = ("SkewedEdge", "SkewedWorker")


class SkewedEdge(EdgeProcess):
    """An edge process that is `ahead_s` seconds ahead of the world."""

    def __init__(self, *, ahead_s: float, **settings: str | float) -> None:
        super().__init__(**settings)
        self._command = [sys.executable, "-m", "tests.chaos.skewed", str(ahead_s), "edge"]


class SkewedWorker(WorkerProcess):
    """A worker process that is `ahead_s` seconds ahead of the world."""

    def __init__(self, *, ahead_s: float, **settings: str | float) -> None:
        super().__init__(**settings)
        self._command = [sys.executable, "-m", "tests.chaos.skewed", str(ahead_s), "worker"]
        self._environment = ours(**{"log_format": "json", "log_level": "info"} | settings)


def main() -> None:
    ahead_s, real = float(sys.argv[1]), time.time
    time.time = lambda: real() + ahead_s
    real_ns = time.time_ns
    time.time_ns = lambda: real_ns() + round(ahead_s * 1e9)
    del sys.argv[1]
    from services.cli.main import main as run

    sys.exit(run())


if __name__ == "__main__":
    main()
