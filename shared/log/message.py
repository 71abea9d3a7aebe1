"""A message put together from its events: what `GET /v1/streams/{id}` shows, and what a `reset` hands over."""

from collections.abc import Iterable, Iterator
from typing import Any, Final

from shared.log.events import ASIDE_KINDS, DELTA_KINDS, Event, LogEntry, json_line

__all__ = ("Content", "is_content")

# The member of a part that grows, where it is not `text`.
_GROWING: Final = {"tool_call": "arguments", "file": "url"}


def is_content(event: Event) -> bool:
    """Return whether the event is part of the message itself, not news about it."""
    return event.kind in DELTA_KINDS or event.kind == "tool_call" or event.kind in ASIDE_KINDS


class Content:
    """Parts in the order they began; adjacent deltas of one kind are one part, and so is each tool call, each file."""

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
        event = entry.event
        if not is_content(event):
            return
        self.offset = entry.position.offset
        if event.kind in DELTA_KINDS:
            self._add_text(event.kind, event.value)
        elif event.kind == "tool_call":
            self._add_call(event.fields())
        elif event.kind == "file":
            self._add_file(event.fields())
        elif event.kind == "annotation":
            self._add_annotation(event.fields()["annotation"])
        else:
            self._end_reasoning(event.fields()["provider_data"])

    def parts(self) -> list[dict[str, Any]]:
        """`{type, text}` for text, reasoning and refusal; `{type, index, id, name, arguments}` for a tool call;
        `{type, index, media_type, url}` for a file. Reasoning and calls may have `provider_data`, text `annotations`.
        """
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

    def _begin(self, part: dict[str, Any], text: bytes) -> None:
        self._parts.append(part)
        self._texts.append([text])

    def _add_text(self, kind: str, text: bytes) -> None:
        last = self._parts[-1] if self._parts else {}
        if last.get("type") == kind and "provider_data" not in last:
            self._texts[-1].append(text)
        else:
            self._begin({"type": kind}, text)

    def _end_reasoning(self, provider_data: dict[str, Any]) -> None:
        """The reasoning that just ended has this with it; some providers show nothing of their reasoning but this."""
        last = self._parts[-1] if self._parts else {}
        if last.get("type") != "reasoning" or "provider_data" in last:
            last = {"type": "reasoning"}
            self._begin(last, b"")
        last["provider_data"] = provider_data

    def _add_annotation(self, annotation: object) -> None:
        """It belongs to the text that was said last, so that no text is cut in two by it."""
        said = next((part for part in reversed(self._parts) if part["type"] == "text"), None)
        if said is None:
            said = {"type": "text"}
            self._begin(said, b"")
        said.setdefault("annotations", []).append(annotation)

    def _add_file(self, fields: dict[str, Any]) -> None:
        if "url" in fields:
            begun = {"type": "file", "index": fields["index"], "media_type": fields.get("media_type", "")}
            self._begin(begun, fields["url"].encode())
            return
        pieces = self._open("file", fields["index"])
        if pieces is not None:
            pieces.append(fields["url_delta"].encode())

    def _add_call(self, fields: dict[str, Any]) -> None:
        pieces = self._open("tool_call", fields["index"])
        if pieces is not None and "id" not in fields:
            pieces.append(fields["arguments_delta"].encode())
            return
        call = {name: fields.get(name, "") for name in ("id", "name")}
        if "provider_data" in fields:
            call["provider_data"] = fields["provider_data"]
        self._begin({"type": "tool_call", "index": fields["index"], **call}, fields["arguments_delta"].encode())

    def _open(self, kind: str, index: int) -> list[bytes] | None:
        """The text of the newest part of this kind and number."""
        for part, pieces in zip(reversed(self._parts), reversed(self._texts), strict=True):
            if part["type"] == kind and part["index"] == index:
                return pieces
        return None


def _name_of_text(part: dict[str, Any]) -> str:
    return _GROWING.get(part["type"], "text")
