"""Notices in our own words: events that are made at the edge and stand in no log, as SSE and NDJSON carry them."""

from typing import Any, assert_never

from services.edge.wires.notices import CaughtUp, Gap, Gone, Heartbeat, Notice, Reconnect, Reset, Start
from shared.log.events import json_line

__all__ = ("is_of_the_connection", "told")


def told(notice: Notice) -> tuple[str | None, bytes]:
    """The event id, if the reader's cursor moves with it, and one line of JSON that begins with its type."""
    match notice:
        case Start():
            return None, json_line(_start(notice))
        case Reset(reason, parts, cursor):
            event_id = str(cursor) if cursor.nonce else None
            return event_id, json_line({"type": "reset", "reason": reason, "parts": parts})
        case Gap(start, end, reason):
            return str(end), json_line({"type": "gap", "from": str(start), "to": str(end), "reason": reason})
        case CaughtUp(cursor):
            return str(cursor) if cursor.nonce else None, json_line({"type": "live"})
        case Reconnect(retry_ms):
            return None, json_line({"type": "reconnect", "retry_ms": retry_ms})
        case Heartbeat():
            return None, json_line({"type": "heartbeat"})
        case Gone(code=code, message=message):
            return None, json_line({"type": "error", "code": code, "message": message, "retryable": False})
    assert_never(notice)


def is_of_the_connection(line: bytes) -> bool:
    """Return whether a line of NDJSON is about the connection, not about its stream."""
    return line.startswith((b'{"type":"heartbeat"', b'{"type":"reconnect"'))


def _start(start: Start) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "type": "start",
        "stream": start.stream,
        "model": start.model,
        "status": start.status,
        "created_ms": start.created_ms,
    }
    if start.provider:
        fields["provider"] = start.provider
    return fields
