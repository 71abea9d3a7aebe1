"""The entry point, which hears signals before anything that takes time is imported."""

import os
import signal
import sys
from typing import Final

__all__ = ("main",)

_SERVICES: Final = ("up", "edge", "worker", "model")


def main() -> int:
    """Run the command line, return the exit code."""
    if sys.argv[1:2] and sys.argv[1] in _SERVICES:
        _stop_at_once_when_told()
    from services.cli.main import main as run

    return run()


def _stop_at_once_when_told() -> None:
    """A service that has not begun has nothing to drain: to be stopped then is an ordinary end."""
    signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signal.signal(signal.SIGHUP, _end)


def _end(*_: object) -> None:
    # An exception would have to find its way through whatever is being imported.
    os._exit(0)
