"""The `Response` object: what is known of a stream, in the words of this API."""

from typing import Any, Final

from services.edge.wires.openai_responses.items import Naming, items_of
from shared.errors import TailraceError
from shared.log.events import Event
from shared.store.message import Assembled

__all__ = ("RESPONSE_PREFIX", "begun_response", "response_id", "response_of")

RESPONSE_PREFIX: Final = "resp_"
_REASONS: Final = {"length": "max_output_tokens", "content_filter": "content_filter"}
_STATUSES: Final = {"queued": "queued", "running": "in_progress", "error": "failed", "cancelled": "cancelled"}
_CODES: Final = {"provider_rate_limited": "rate_limit_exceeded", "provider_rejected": "invalid_prompt"}
# The request is gone with the end of its stream, so these say only that nothing is known.
_UNKNOWN: Final[dict[str, Any]] = {
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "background": False,
    "frequency_penalty": 0.0,
    "presence_penalty": 0.0,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def response_id(stream_id: str) -> str:
    return f"{RESPONSE_PREFIX}{stream_id}"


def begun_response(stream_id: str, model: str, created_ms: int) -> dict[str, Any]:
    """Return a response of which nothing has been said yet."""
    return {
        "id": response_id(stream_id),
        "object": "response",
        "created_at": created_ms // 1000,
        "completed_at": None,
        "status": "in_progress",
        "model": model,
        "output": [],
        "usage": None,
        "error": None,
        "incomplete_details": None,
        "metadata": {},
        **_UNKNOWN,
    }


def response_of(whole: Assembled, ending: Event | None = None) -> dict[str, Any]:
    """Return the response as it is now, with its output so far. `ending` is the last event, if it is at hand."""
    meta = whole.meta
    reason, error = meta.finish_reason, meta.error or {}
    if ending is not None:
        said = ending.fields()
        reason, error = said.get("finish_reason", reason), said if ending.kind == "error" else error
    status = _status_of(meta.status, reason)
    part_status = status if status in {"completed", "in_progress"} else "incomplete"
    return {
        **begun_response(meta.id, meta.model, meta.created_ms),
        "status": status,
        "completed_at": meta.finished_ms // 1000 if status == "completed" else None,
        "output": items_of(Naming.along(meta.id, meta.lineage), whole.content.parts(), part_status),
        "usage": _usage_of(meta.usage) if meta.is_over else None,
        "error": _error_of(error) if status == "failed" else None,
        "incomplete_details": {"reason": _REASONS[reason]} if status == "incomplete" else None,
        "metadata": meta.metadata,
    }


def _status_of(status: str, reason: str) -> str:
    """Return the status of a stream as this API calls it."""
    if status == "done":
        return "incomplete" if reason in _REASONS else "completed"
    return _STATUSES[status]


def _error_of(said: dict[str, Any]) -> dict[str, Any]:
    """Return the error in the codes of this API, which its clients check; our own is in the message."""
    code = str(said.get("code", TailraceError.code))
    message = said.get("message", TailraceError.text)
    return {"code": _CODES.get(code, "server_error"), "message": f"{message} ({code})"}


def _usage_of(usage: dict[str, Any] | None) -> dict[str, Any]:
    counts = usage or {}
    read, written = counts.get("input_tokens", 0), counts.get("output_tokens", 0)
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": counts.get("cached_tokens", 0), "cache_write_tokens": 0},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": counts.get("reasoning_tokens", 0)},
        "total_tokens": counts.get("total_tokens", read + written),
    }
