"""Bytes of newline-delimited JSON to its lines: any split, one pass."""

from typing import Final

from shared.errors import ProviderMalformed

__all__ = ("MAX_LINE_BYTES", "LineReader")

MAX_LINE_BYTES: Final = 16 * 1024 * 1024


class LineReader:
    """Push parser of one response. A line of up to `max_bytes` passes; a longer one never does: memory is bounded."""

    __slots__ = ("_max_bytes", "_pending")

    def __init__(self, *, max_bytes: int = MAX_LINE_BYTES) -> None:
        self._max_bytes = max_bytes
        self._pending = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that `data` completes. Raises `ProviderMalformed` when one grows too large."""
        if b"\n" not in data:
            self._keep(data)
            return []
        whole, _, rest = data.rpartition(b"\n")
        if self._pending:
            whole = bytes(self._pending + whole)
            self._pending.clear()
        self._keep(rest)
        lines = whole.split(b"\n")
        if len(whole) > self._max_bytes and max(map(len, lines)) > self._max_bytes:
            raise ProviderMalformed
        return [line for line in lines if line.strip()]

    def finish(self) -> list[bytes]:
        """The last line, if nothing ended it. It may be cut anywhere."""
        pending, self._pending = bytes(self._pending), bytearray()
        return [pending] if pending.strip() else []

    def _keep(self, rest: bytes) -> None:
        self._pending += rest
        if len(self._pending) > self._max_bytes:
            raise ProviderMalformed
