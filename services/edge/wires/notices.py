"""Events that are made at the edge and stand in no log: they tell a reader about the log itself."""

from typing import Any

from shared.log.events import json_line
from shared.store.state import Meta

__all__ = ("gap", "gone", "reconnect", "reset", "start")


def start(meta: Meta) -> bytes:
    """The first event of a reader without a cursor, whatever has been folded since."""
    fields: dict[str, Any] = {
        "type": "start",
        "stream": meta.id,
        "model": meta.model,
        "status": meta.status,
        "created_ms": meta.created_ms,
    }
    if meta.provider:
        fields["provider"] = meta.provider
    return json_line(fields)


def reset(reason: str, parts: list[dict[str, Any]]) -> bytes:
    """What the reader holds is not the log any more: these parts take its place."""
    return json_line({"type": "reset", "reason": reason, "parts": parts})


def gap(from_id: str, to_id: str, reason: str) -> bytes:
    """The log between two positions is gone; what follows goes on after it."""
    return json_line({"type": "gap", "from": from_id, "to": to_id, "reason": reason})


def reconnect(retry_ms: int) -> bytes:
    """This connection ends for reasons of the server's: come back with the last id."""
    return json_line({"type": "reconnect", "retry_ms": retry_ms})


def gone() -> bytes:
    """The stream vanished from under its readers: deleted, evicted, or its Redis lost it."""
    return json_line(
        {"type": "error", "code": "stream_gone", "message": "The stream is gone from the store.", "retryable": False}
    )
