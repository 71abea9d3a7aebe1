"""Run a program that dies with its parent: `leash.py PARENT_PID PROGRAM ARGUMENT…`.

A supervisor that is killed with SIGKILL cannot stop its children, and an orphaned Redis would keep the data folder. So
the child asks Linux for a SIGTERM at its parent's death, then becomes the program. This runs in the child rather than
as a `preexec_fn`, which may deadlock between fork and exec; and with `python -I -S`, therefore without imports of ours.
"""

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Sequence

__all__ = ("leashed",)

_PR_SET_PDEATHSIG = 1


def leashed(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` as a child of this process and ends it with this process."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


def _become(parent: int, command: list[str]) -> None:
    # Where there is no prctl (macOS) the program runs without the leash; a normal stop ends it all the same.
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # The parent may have died before the request was made.
    if os.getppid() != parent:
        sys.exit(1)
    os.execvp(command[0], command)


if __name__ == "__main__":
    _become(int(sys.argv[1]), sys.argv[2:])
