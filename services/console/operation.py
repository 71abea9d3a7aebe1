"""Running one command to its exit code, whatever happens in it."""

import asyncio
import os
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from services.console.exit_code import ExitCode
from services.console.failure import failure_of, hint_for
from services.console.terminal import error_console
from shared.errors import TailraceError
from tailrace.errors import ClientError

__all__ = ("perform", "report", "run_to_exit_code")


def perform(operation: Coroutine[Any, Any, ExitCode]) -> ExitCode:
    """Run a command's coroutine. The first Ctrl-C cancels it, so that it can clean up; the second ends it at once."""
    return run_to_exit_code(lambda: asyncio.run(operation))


def run_to_exit_code(command: Callable[[], ExitCode], *, interrupted: ExitCode = ExitCode.INTERRUPTED) -> ExitCode:
    """Typed errors become one line and a hint; anything else is a bug and keeps its traceback.

    `interrupted` is what Ctrl-C means: for a server it is the usual way to stop, however early it comes.
    """
    try:
        return command()
    except KeyboardInterrupt:
        return interrupted
    except ClientError as error:
        report(failure_of(error))
        return ExitCode.FAILED
    except TailraceError as error:
        report(error)
        return ExitCode.FAILED
    except BrokenPipeError:
        # `tailrace ask … | head`: the reader has had enough. Python would complain again while it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK


def report(error: TailraceError) -> None:
    """Print an error to standard error as one line, and what to do about it as another."""
    from rich.text import Text

    console = error_console()
    console.print(Text.assemble(("error: ", "bold red"), error.message), soft_wrap=True)
    if hint := hint_for(error):
        console.print(Text.assemble(("hint:  ", "dim"), hint), soft_wrap=True)
