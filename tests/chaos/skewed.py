"""Processes whose wall clock is wrong; see `skew.py`."""

import sys

from tests.support.edge import EdgeProcess
from tests.support.service import ours
from tests.support.worker import WorkerProcess

__all__ = ("SkewedEdge", "SkewedWorker")


class SkewedEdge(EdgeProcess):
    """An edge process that is `ahead_s` seconds ahead of the world."""

    def __init__(self, *, ahead_s: float, **settings: str | float) -> None:
        program = ("-m", "tests.chaos.skew", str(ahead_s), "edge")
        super().__init__(is_plain=False, waits_for_redis=True, program=program, plain_program=program, **settings)


class SkewedWorker(WorkerProcess):
    """A worker process that is `ahead_s` seconds ahead of the world."""

    def __init__(self, *, ahead_s: float, **settings: str | float) -> None:
        super().__init__(**settings)
        self._command = [sys.executable, "-m", "tests.chaos.skew", str(ahead_s), "worker"]
        self._environment = ours(**{"log_format": "json", "log_level": "info"} | settings)
