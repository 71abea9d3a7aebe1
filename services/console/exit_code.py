"""The exit codes of commands."""

from enum import IntEnum

__all__ = ("ExitCode",)


class ExitCode(IntEnum):
    """Documented in docs/cli.md."""

    OK = 0
    FAILED = 1
    USAGE = 2
    INTERRUPTED = 130
