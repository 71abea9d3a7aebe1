"""Standard output and error: text for a person at a terminal, JSON lines for what reads a pipe."""

import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ("Output", "error_console", "is_json", "output_console", "printable", "write_json")

Output = Literal["auto", "text", "json"]

# Control pictures stand for what would otherwise move the cursor or repaint the screen: a model's text is not ours.
_PICTURES = (
    {code: chr(0x2400 + code) for code in range(32)} | {127: "\u2421"} | dict.fromkeys(range(128, 160), "\ufffd")
)
_HARMLESS = {ord("\n"): "\n", ord("\t"): "\t", ord("\r"): ""}


def is_json(output: Output) -> bool:
    """Return whether a command answers in JSON lines: when told so, or when its output goes into a pipe."""
    if output == "auto":
        return not sys.stdout.isatty()
    return output == "json"


def write_json(fields: Mapping[str, Any]) -> None:
    """One JSON object, one line, at once."""
    import orjson

    sys.stdout.write(orjson.dumps(fields, default=str).decode() + "\n")
    sys.stdout.flush()


def printable(text: str) -> str:
    """Text that a terminal shows and does not obey."""
    return text.translate(_PICTURES | _HARMLESS)


def output_console() -> "Console":
    from rich.console import Console

    return Console(highlight=False)


def error_console() -> "Console":
    from rich.console import Console

    return Console(stderr=True, highlight=False)
