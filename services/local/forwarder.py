"""The logs of all children in one place, each line with the name of who said it."""

import zlib
from dataclasses import dataclass
from typing import Any, Final, Literal, TextIO

import orjson

__all__ = ("Forwarder", "LineSplitter")

_COLOURS: Final = (36, 35, 34, 32, 33, 96, 95, 94)
_NAME_CHARS: Final = 9
_MAX_LINE_BYTES: Final = 64 * 1024


class LineSplitter:
    """Lines out of a child's output, however it was cut. A line beyond 64 KiB is passed on in pieces."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> list[str]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > _MAX_LINE_BYTES:
            lines.append(self._rest)
            self._rest = b""
        return [line.decode("utf-8", "replace").rstrip("\r") for line in lines]

    def end(self) -> list[str]:
        """Return the last words, without a line end."""
        lines, self._rest = ([self._rest] if self._rest else []), b""
        return [line.decode("utf-8", "replace") for line in lines]


@dataclass(frozen=True, slots=True)
class Forwarder:
    """Text for people: `edge-8000 │ ready`. JSON lines for programs, with `process` in each."""

    stream: TextIO
    style: Literal["text", "json"]
    colour: bool = False

    def line(self, name: str, text: str) -> None:
        """Pass on one line of a child."""
        if text.strip():
            self.stream.write(f"{self._json(name, text) if self.style == 'json' else self._text(name, text)}\n")
            self.stream.flush()

    def _text(self, name: str, text: str) -> str:
        label = f"{name:<{_NAME_CHARS}} │"
        if not self.colour:
            return f"{label} {text}"
        # By name, so that a process keeps its colour over restarts and runs.
        return f"\x1b[{_COLOURS[zlib.crc32(name.encode()) % len(_COLOURS)]}m{label}\x1b[0m {text}"

    def _json(self, name: str, text: str) -> str:
        return orjson.dumps({**_fields(text), "process": name}).decode()


def _fields(text: str) -> dict[str, Any]:
    try:
        fields = orjson.loads(text) if text.startswith("{") else None
    except orjson.JSONDecodeError:
        fields = None
    return fields if isinstance(fields, dict) else {"message": text}
