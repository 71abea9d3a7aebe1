"""The command line as this person has to type it: `tailrace` where that is on PATH, else the way to the script."""

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

__all__ = ("DEFAULT_EDGE_URL", "URL_VARIABLE", "command_line", "edge_options")

DEFAULT_EDGE_URL: Final = "http://127.0.0.1:8000"
URL_VARIABLE: Final = "TAILRACE_URL"

_SCRIPT: Final = "tailrace"


def command_line(*words: str) -> str:
    """Return a command of ours that works when it is pasted into the shell that ran this one."""
    return " ".join([_program(), *(shlex.quote(word) for word in words)])


def edge_options(urls: Sequence[str]) -> list[str]:
    """Return the options that lead to these edges; none where the command goes there by itself."""
    if list(urls) == os.environ.get(URL_VARIABLE, DEFAULT_EDGE_URL).split():
        return []
    return [word for url in urls for word in ("--url", url)]


def _program() -> str:
    # Not resolved: in a virtual environment the interpreter is a link, and the script lies beside the link.
    script = Path(sys.executable).parent / _SCRIPT
    found = shutil.which(_SCRIPT)
    if found is not None and Path(found).absolute() == script:
        return _SCRIPT
    if script.exists():
        return shlex.quote(_shortest(script))
    return f"{shlex.quote(sys.executable)} -m services.cli"


def _shortest(path: Path) -> str:
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
