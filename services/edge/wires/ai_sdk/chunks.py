"""The chunks of a UI message stream, each a block of server-sent events without an id."""

from collections.abc import Mapping
from typing import Any, Final

import orjson

from shared.errors import TailraceError
from shared.log.events import Event, json_line

__all__ = ("DONE", "aborted", "chunk", "delta", "failed", "failure_of", "finished", "input_of", "metadata_of", "noted")

DONE: Final = b"data: [DONE]\n\n"
# Under our name, because it comes back with the next request, and is opaque to everybody but the provider.
_OURS: Final = "tailrace"
_REASONS: Final = {
    "stop": "stop",
    "length": "length",
    "content_filter": "content-filter",
    "tool_calls": "tool-calls",
    "function_call": "tool-calls",
    "error": "error",
}
_COUNTS: Final = {
    "input_tokens": "inputTokens",
    "output_tokens": "outputTokens",
    "total_tokens": "totalTokens",
    "reasoning_tokens": "reasoningTokens",
    "cached_tokens": "cachedInputTokens",
}


def chunk(kind: str, **fields: Any) -> bytes:
    return b"data: %b\n\n" % json_line({"type": kind, **fields})


def delta(head: bytes, entry_id: bytes, nonce: bytes, kind: bytes, line: bytes) -> bytes:
    """A piece of the text part that `head` names, as a page of deltas wants it made."""
    return b"%b%b}\n\n" % (head, line)


def metadata_of(provider_data: Mapping[str, Any] | None) -> dict[str, Any]:
    """Members of a chunk so that the provider gets its data back with the next turn; none if there is none."""
    return {"providerMetadata": {_OURS: provider_data}} if provider_data else {}


def input_of(call_id: str, name: str, arguments: str) -> bytes:
    """The whole input of a tool call, or that it is none."""
    try:
        parsed = orjson.loads(arguments) if arguments.strip() else {}
    except orjson.JSONDecodeError as error:
        said = f"The arguments are not valid JSON: {error}"
        return chunk("tool-input-error", toolCallId=call_id, toolName=name, input=arguments, errorText=said)
    return chunk("tool-input-available", toolCallId=call_id, toolName=name, input=parsed)


def noted(annotation: object, number: int) -> bytes:
    """A source, if the annotation cites one; else the annotation as it is."""
    cited = annotation.get("url_citation", annotation) if isinstance(annotation, dict) else None
    if isinstance(cited, dict) and isinstance(cited.get("url"), str):
        title = {"title": cited["title"]} if isinstance(cited.get("title"), str) else {}
        return chunk("source-url", sourceId=f"source-{number}", url=cited["url"], **title)
    return chunk("data-annotation", data=annotation)


def finished(event: Event) -> bytes:
    fields = event.fields()
    reason = _REASONS.get(fields["finish_reason"], "other")
    usage = fields.get("usage")
    more = {"messageMetadata": {"usage": _usage_of(usage)}} if isinstance(usage, dict) else {}
    return chunk("finish-step") + chunk("finish", finishReason=reason, **more)


def failed(code: str, message: str) -> bytes:
    """Nothing comes after it; without a `finish` some clients would ask for the rest for ever."""
    return chunk("error", errorText=message, code=code) + chunk("finish", finishReason="error")


def aborted() -> bytes:
    return chunk("abort", reason="cancelled") + chunk("finish", finishReason="other")


def failure_of(event: Event) -> bytes:
    fields = event.fields()
    return failed(fields["code"], fields.get("message") or TailraceError.text)


def _usage_of(usage: Mapping[str, Any]) -> dict[str, Any]:
    return {theirs: usage[ours] for ours, theirs in _COUNTS.items() if ours in usage}
