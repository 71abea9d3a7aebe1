"""The chunks of OpenAI's chat completions API.

Its clients keep every piece they were given, have no cursor, and take a clean end for the end of the answer. So what
was said can only be added to: a new attempt, or a hole, after the first word is an error, and whoever has to go is cut.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from services.edge.wires.notices import Gap, Gone, Heartbeat, Notice, Reset, Start
from services.edge.wires.wire import Wire, WireState
from shared.errors import TailraceError
from shared.log.events import Event, LogEntry, json_line
from shared.log.page import DeltaPage
from shared.store.state import Meta

__all__ = ("OPENAI", "OPENAI_WITH_USAGE", "completion_id", "finish_reason_of", "said_error", "usage_of")

_DELTAS: Final = {"text": "content", "reasoning": "reasoning_content", "refusal": "refusal"}
_DELTA_NAMES: Final = {kind.encode(): name.encode() for kind, name in _DELTAS.items()}
# The provider's own words go through; this one is ours, for a provider that gave no reason.
_REASONS: Final = {"unknown": "stop"}


class _State(NamedTuple):
    """`head` begins every chunk; `calls` are the log's numbers of the tool calls that were opened, in their order."""

    head: bytes
    calls: tuple[int, ...] = ()
    is_failed: bool = False


class _OpenAiChat:
    """Chat completion chunks; with `has_usage` the last of them is the usage, for those who asked for it."""

    media_type = "text/event-stream; charset=utf-8"
    accepts: tuple[str, ...] = ()
    example = (
        'data: {"id":"chatcmpl-0b5c…","object":"chat.completion.chunk","created":1764550000,"model":"smollm2",'
        '"choices":[{"index":0,"delta":{"content":"Hello"},"finish_reason":null}]}\n\n'
    )
    final = frozenset[type[Notice]]({Gap, Gone, Reset})
    has_state = True
    headers: tuple[tuple[bytes, bytes], ...] = ()
    retires = False

    def __init__(self, name: str, *, has_usage: bool) -> None:
        self.name = name
        self._has_usage = has_usage

    def begin(self, meta: Meta) -> _State:
        return _State(_head(meta.id, meta.created_ms, meta.model))

    def after(self, state: _State, entries: Sequence[LogEntry]) -> _State:
        if isinstance(entries, DeltaPage):
            return state
        for _, event in entries:
            if event.kind == "tool_call" and "id" in (fields := event.fields()):
                state = state._replace(calls=(*state.calls, fields["index"]))
            elif event.kind in {"error", "cancelled"}:
                state = state._replace(is_failed=True)
        return state

    def opening(self, retry_ms: int) -> bytes:
        return b""

    def frame(self, event_id: str, entry: LogEntry, state: _State) -> bytes:
        event = entry.event
        if event.kind in _DELTAS:
            return _delta(state.head, b"", b"", event.kind.encode(), json_line(event.value.decode()))
        match event.kind:
            case "tool_call":
                return _chunk(state, {"tool_calls": [_call(event.fields(), state.calls)]})
            case "annotation":
                return _chunk(state, {"annotations": [event.fields()["annotation"]]})
            case "done":
                return self._done(event, state)
            case "error" | "cancelled":
                return b"data: %b\n\n" % json_line(said_error(*_failure(event)))
            case _:
                return b""

    def deltas(self, page: DeltaPage, nonce: bytes, state: _State) -> bytes:
        return page.formatted(partial(_delta, state.head), nonce)

    def notice(self, notice: Notice, state: WireState) -> bytes:
        match notice:
            case Start():
                head = _head(notice.stream, notice.created_ms, notice.model)
                return _chunk(_State(head), {"role": "assistant", "content": ""})
            case Heartbeat():
                return b": hb\n"
            case Gone():
                return b"data: %b\n\n" % json_line(said_error(notice.code, notice.message))
            case Reset():
                message = "The answer was begun anew, and what you have of it is no longer part of it."
                return b"data: %b\n\n" % json_line(said_error("attempt_restarted", message))
            case Gap():
                message = "A part of the answer was trimmed from the log before you could read it."
                return b"data: %b\n\n" % json_line(said_error("log_trimmed", message))
            case _:
                return b""

    def closing(self, state: _State) -> bytes:
        return b"" if state.is_failed else b"data: [DONE]\n\n"

    def _done(self, event: Event, state: _State) -> bytes:
        fields = event.fields()
        last = _chunk(state, {}, finish_reason_of(fields["finish_reason"]))
        if self._has_usage:
            last += b'data: %b[],"usage":%b}\n\n' % (state.head, json_line(usage_of(fields.get("usage"))))
        return last


def completion_id(stream_id: str) -> str:
    return f"chatcmpl-{stream_id}"


def finish_reason_of(reason: str) -> str:
    """Return a reason of the log in the words of this API."""
    return _REASONS.get(reason, reason)


def usage_of(usage: dict[str, Any] | None) -> dict[str, Any]:
    """Return the usage of a stream in the shape of this API; what nobody reported is 0."""
    counts = usage or {}
    read, written = counts.get("input_tokens", 0), counts.get("output_tokens", 0)
    return {
        "prompt_tokens": read,
        "completion_tokens": written,
        "total_tokens": counts.get("total_tokens", read + written),
        "prompt_tokens_details": {"cached_tokens": counts.get("cached_tokens", 0)},
        "completion_tokens_details": {"reasoning_tokens": counts.get("reasoning_tokens", 0)},
    }


def said_error(code: str, message: str, *, kind: str = "server_error", param: str | None = None) -> dict[str, Any]:
    """Return an error in the shape of this API."""
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def _failure(event: Event) -> tuple[str, str]:
    if event.kind == "cancelled":
        return "cancelled", "The answer was cancelled."
    fields = event.fields()
    return fields["code"], fields.get("message", TailraceError.text)


def _head(stream_id: str, created_ms: int, model: str) -> bytes:
    fields = {
        "id": completion_id(stream_id),
        "object": "chat.completion.chunk",
        "created": created_ms // 1000,
        "model": model,
    }
    return json_line(fields).removesuffix(b"}") + b',"choices":'


def _chunk(state: _State, delta: dict[str, Any], finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return b"data: %b%b}\n\n" % (state.head, json_line([choice]))


def _delta(head: bytes, entry_id: bytes, nonce: bytes, kind: bytes, line: bytes) -> bytes:
    return b'data: %b[{"index":0,"delta":{"%b":%b},"finish_reason":null}]}\n\n' % (head, _DELTA_NAMES[kind], line)


def _call(fields: dict[str, Any], calls: tuple[int, ...]) -> dict[str, Any]:
    """A piece of a tool call. Calls are numbered densely, whatever their provider calls them."""
    if "id" in fields:
        function = {"name": fields["name"], "arguments": fields["arguments_delta"]}
        return {"index": len(calls), "id": fields["id"], "type": "function", "function": function}
    index = len(calls) - 1 - calls[::-1].index(fields["index"])
    return {"index": index, "function": {"arguments": fields["arguments_delta"]}}


OPENAI: Final[Wire] = _OpenAiChat("openai", has_usage=False)
OPENAI_WITH_USAGE: Final[Wire] = _OpenAiChat("openai-usage", has_usage=True)
