"""A message put together from its events: what `GET /v1/streams/{id}` shows, and what a `reset` hands over."""

from collections.abc import Iterable, Iterator
from typing import Any

from shared.log.events import DELTA_KINDS, Event, LogEntry, json_line

__all__ = ("Content", "is_content")


def is_content(event: Event) -> bool:
    """Whether the event is part of the message itself, not news about it."""
    return event.kind in DELTA_KINDS or event.kind == "tool_call"


class Content:
    """Parts in the order they began; adjacent deltas of one kind are one part, and so is each tool call."""

    def __init__(self, entries: Iterable[LogEntry] = ()) -> None:
        self._parts: list[dict[str, Any]] = []
        self._texts: list[list[bytes]] = []
        self.offset = 0
        for entry in entries:
            self.add(entry)

    def __repr__(self) -> str:
        return f"<Content {len(self._parts)} parts, {self.offset} units>"

    def add(self, entry: LogEntry) -> None:
        """Take in one event; what is no content leaves the parts as they are."""
        if not is_content(entry.event):
            return
        self.offset = entry.position.offset
        if entry.event.kind == "tool_call":
            self._add_call(entry.event.fields())
        else:
            self._add_text(entry.event.kind, entry.event.value)

    def parts(self) -> list[dict[str, Any]]:
        """`{type, text}` for text, reasoning and refusal; `{type, index, id, name, arguments}` for a tool call."""
        return [
            part | {_name_of_text(part): b"".join(pieces).decode()}
            for part, pieces in zip(self._parts, self._texts, strict=True)
        ]

    def json(self) -> Iterator[bytes]:
        """The same in JSON, event by event: a long message is never there a second time."""
        yield b"["
        for number, (part, pieces) in enumerate(zip(self._parts, self._texts, strict=True)):
            opened = json_line(part | {_name_of_text(part): ""}).removesuffix(b'"}')
            yield b"," + opened if number else opened
            for piece in pieces:
                yield json_line(piece.decode())[1:-1]
            yield b'"}'
        yield b"]"

    def _add_text(self, kind: str, text: bytes) -> None:
        if not self._parts or self._parts[-1]["type"] != kind:
            self._parts.append({"type": kind})
            self._texts.append([])
        self._texts[-1].append(text)

    def _add_call(self, fields: dict[str, Any]) -> None:
        for part, pieces in zip(reversed(self._parts), reversed(self._texts), strict=True):
            if part["type"] == "tool_call" and part["index"] == fields["index"] and "id" not in fields:
                pieces.append(fields["arguments_delta"].encode())
                return
        call = {name: fields.get(name, "") for name in ("id", "name")}
        self._parts.append({"type": "tool_call", "index": fields["index"], **call})
        self._texts.append([fields["arguments_delta"].encode()])


def _name_of_text(part: dict[str, Any]) -> str:
    return "arguments" if part["type"] == "tool_call" else "text"
