"""Events of AG-UI 1.0, each a block of server-sent events; the last one for an event of the log has its id."""

from collections.abc import Mapping
from typing import Any, Final

from shared.errors import TailraceError
from shared.log.events import Event, json_line

__all__ = ("cancelled", "content_head", "delta", "failed", "failure_of", "finished", "frame", "with_id")

_COUNTS: Final = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "total_tokens": "totalTokens",
    "reasoning_tokens": "reasoningTokens",
    "cached_tokens": "cachedInputTokens",
}


def frame(kind: str, **fields: Any) -> bytes:
    return b"data: %b\n\n" % json_line({"type": kind, **fields})


def with_id(frames: bytes, event_id: str) -> bytes:
    """The frames with the id in the block of the last: who has that one has them all."""
    return b"%bid: %b\n\n" % (frames[:-1], event_id.encode()) if frames else b""


def content_head(kind: str, message_id: str) -> bytes:
    """The beginning of a piece of this message."""
    name = "REASONING_MESSAGE_CONTENT" if kind == "reasoning" else "TEXT_MESSAGE_CONTENT"
    return b'data: %b,"delta":' % json_line({"type": name, "messageId": message_id}).removesuffix(b"}")


def delta(head: bytes, entry_id: bytes, nonce: bytes, kind: bytes, line: bytes) -> bytes:
    """A piece of the message that `head` names, as a page of deltas wants it made."""
    return b"%b%b}\nid: %b.%b\n\n" % (head, line, entry_id, nonce)


def finished(run: Mapping[str, str], event: Event, pending: list[str]) -> bytes:
    """The end of a run. `pending` are the calls that wait for whoever has the tools."""
    fields = event.fields()
    outcome: dict[str, Any] = {"type": "success"}
    if pending:
        outcome["pendingToolCallIds"] = pending
    usage = fields.get("usage")
    counts = {theirs: usage[ours] for ours, theirs in _COUNTS.items() if ours in usage} if usage else {}
    more = {"usage": [counts]} if counts else {}
    result = {"finishReason": fields["finish_reason"]}
    return frame("RUN_FINISHED", **run, result=result, outcome=outcome, **more)


def cancelled(run: Mapping[str, str]) -> bytes:
    return frame("RUN_FINISHED", **run, outcome={"type": "cancelled"})


def failed(code: str, message: str) -> bytes:
    return frame("RUN_ERROR", message=message, code=code)


def failure_of(event: Event) -> bytes:
    fields = event.fields()
    return failed(fields["code"], fields.get("message") or TailraceError.text)
