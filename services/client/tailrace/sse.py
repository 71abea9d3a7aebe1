"""Server-sent events out of bytes, however they were cut: the reading half of the wire, for `ask` and `tail`."""

from dataclasses import dataclass
from typing import Any, Final

import orjson

from tailrace.errors import ClientError

__all__ = ("MAX_LINE_BYTES", "Frame", "SseDecoder")

# Far above any event an edge sends; what is longer is no Tailrace.
MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Frame:
    """One dispatched event: the id it came with, if any, and its data."""

    id: str | None
    data: bytes

    def fields(self) -> dict[str, Any]:
        """The JSON object in the data. Raises `ClientError` if it is none."""
        try:
            fields = orjson.loads(self.data)
        except orjson.JSONDecodeError as error:
            raise ClientError(
                "the server sent an event that is not JSON", hint="is it the address of a Tailrace edge?"
            ) from error
        if not isinstance(fields, dict) or not isinstance(fields.get("type"), str):
            raise ClientError("the server sent an event without a type", hint="is it the address of a Tailrace edge?")
        return fields


class SseDecoder:
    """Feed it bytes, get frames. `retry_ms` is what the server last asked for.

    Lines end with CR, LF or CRLF; an event without the blank line after it is never dispatched.
    """

    def __init__(self) -> None:
        self.retry_ms: int | None = None
        self._rest = b""
        self._data: list[bytes] = []
        self._id: str | None = None
        self._at_start = True
        self._after_cr = False

    def feed(self, chunk: bytes) -> list[Frame]:
        frames = []
        for line in self._lines(chunk):
            if line:
                self._take(line)
            elif self._data:
                frames.append(Frame(self._id, b"\n".join(self._data)))
            if not line:
                self._data, self._id = [], None
        return frames

    def _lines(self, chunk: bytes) -> list[bytes]:
        # A CR ends its line at once; if a LF follows in the next chunk, it belongs to that CR.
        if self._after_cr and chunk.startswith(b"\n"):
            chunk, self._after_cr = chunk[1:], False
        if not chunk:
            return []
        self._after_cr = chunk.endswith(b"\r")
        if b"\r" in chunk:
            chunk = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise ClientError("the server sent a line without an end", hint="is it the address of a Tailrace edge?")
        if self._at_start and lines:
            self._at_start = False
            lines[0] = lines[0].removeprefix(_BOM)
        return lines

    def _take(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode("utf-8", "replace")
        elif name == b"retry" and value.isdigit():
            self.retry_ms = int(value)
