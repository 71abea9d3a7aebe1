"""The signals that ask a process to stop. Whichever it is, a process drains first."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

__all__ = ("heeded", "stop_signals")


def stop_signals() -> tuple[signal.Signals, ...]:
    """SIGTERM, SIGINT, and SIGHUP unless it is ignored, as `nohup` has it."""
    outlives_terminal = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    ordinary = (signal.SIGTERM, signal.SIGINT)
    return ordinary if outlives_terminal else (*ordinary, signal.SIGHUP)


@contextlib.contextmanager
def heeded(on_signal: Callable[[], None]) -> Iterator[None]:
    """Call `on_signal` on the running loop for each of them; afterwards, when the process ends anyway, ignore them."""
    loop, numbers = asyncio.get_running_loop(), stop_signals()
    for number in numbers:
        loop.add_signal_handler(number, on_signal)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_IGN)
