"""A message put together from events, in a form in which two copies can be compared whatever they were cut into.

Written anew rather than taken from `shared/log/message.py`: the checker must not make the mistakes of what it checks.
Scripts make one tool call at a time, so the pieces of a call are never interleaved with those of another.
"""

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, Final

__all__ = ("CONTENT", "TERMINAL", "Transcript", "rebuilt", "size_of")

TEXTS: Final = frozenset({"text", "reasoning", "refusal"})
CONTENT: Final = TEXTS | {"tool_call"}
TERMINAL: Final = frozenset({"done", "error", "cancelled"})


class Transcript:
    """Parts in the order they began, as one run of bytes: a header for each part, then its text."""

    def __init__(self) -> None:
        self.written = bytearray()
        self._hash = blake2b(digest_size=12)
        self._part = ""

    def __repr__(self) -> str:
        return f"<Transcript {len(self.written)} bytes {self.digest}>"

    @property
    def digest(self) -> str:
        return self._hash.hexdigest()

    def add(self, data: Mapping[str, Any]) -> None:
        """One content event."""
        if data["type"] == "tool_call":
            self._write(_call(data) if "id" in data else self._part, data["arguments_delta"])
        else:
            self._write(data["type"], data["delta"])

    def add_part(self, part: Mapping[str, Any]) -> None:
        """One part of a `reset`."""
        is_call = part["type"] == "tool_call"
        self._write(_call(part) if is_call else part["type"], part["arguments"] if is_call else part["text"])

    def _write(self, part: str, text: str) -> None:
        if part != self._part:
            self._part = part
            self._put(f"\x1e{part}\x1f".encode())
        self._put(text.encode())

    def _put(self, data: bytes) -> None:
        self.written += data
        self._hash.update(data)


def rebuilt(parts: Sequence[Mapping[str, Any]]) -> Transcript:
    """What a reader holds after a `reset` with these parts."""
    transcript = Transcript()
    for part in parts:
        transcript.add_part(part)
    return transcript


def size_of(data: Mapping[str, Any]) -> int:
    """Units of an event (PROTOCOL.md, section 1)."""
    if data["type"] in TEXTS:
        return len(data["delta"].encode())
    if data["type"] == "tool_call":
        return len(data["arguments_delta"].encode()) + ("id" in data)
    return 1


def _call(fields: Mapping[str, Any]) -> str:
    return f"tool_call {fields['index']} {fields['id']} {fields['name']}"
