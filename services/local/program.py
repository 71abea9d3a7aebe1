"""The description of one process for the supervisor: how to start it, when it is ready, how long it may take to end."""

import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

__all__ = ("Program", "tailrace_command")

ReadyCheck = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, slots=True)
class Program:
    """A child process. Without a check it counts as ready once it runs. `keep_fds` are open in the child too.

    What a quiet one says is shown only if it fails.
    """

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    is_ready: ReadyCheck | None = None
    stop_s: float = 2.0
    keep_fds: tuple[int, ...] = ()
    is_quiet: bool = False


def tailrace_command(*arguments: str) -> tuple[str, ...]:
    """The command line of one of our own processes, by this very interpreter."""
    return (sys.executable, "-m", "services.cli", *arguments)
