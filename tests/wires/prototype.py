"""A wire in the manner of other people's chat APIs, which shows that the seam carries one. Not part of the product.

Unlike ours it needs to know what was before: every chunk names its stream, tool calls are numbered densely whatever
the provider calls them, and after a failure there is no `[DONE]`.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from services.edge.wires.notices import Gap, Gone, Heartbeat, Notice, Reset, Start
from services.edge.wires.wire import one_by_one
from shared.log.events import LogEntry, json_line
from shared.log.page import DeltaPage
from shared.store.state import Meta

__all__ = ("PROTOTYPE", "Prototype")

_DELTAS = {"text": "content", "reasoning": "reasoning_content", "refusal": "refusal"}


class _State(NamedTuple):
    stream: str
    calls: tuple[int, ...] = ()
    is_failed: bool = False


class Prototype:
    name = "prototype"
    media_type = "text/event-stream; charset=utf-8"
    accepts: tuple[str, ...] = ()
    example = 'data: {"id":"chat-0b5c","at":5,"delta":{"content":"Hello"}}\n\n'
    final = frozenset[type[Notice]]({Gap, Gone, Reset})
    has_state = True
    headers: tuple[tuple[bytes, bytes], ...] = ()
    retires = True

    def begin(self, meta: Meta) -> _State:
        return _State(meta.id)

    def after(self, state: _State, entries: Sequence[LogEntry]) -> _State:
        for _, event in entries:
            if event.kind == "tool_call" and "id" in (fields := event.fields()):
                state = state._replace(calls=(*state.calls, fields["index"]))
            elif event.kind in {"error", "cancelled"}:
                state = state._replace(is_failed=True)
        return state

    def opening(self, retry_ms: int) -> bytes:
        return b""

    def frame(self, event_id: str, entry: LogEntry, state: _State) -> bytes:
        position, event = entry
        said: dict[str, Any]
        match event.kind:
            case "text" | "reasoning" | "refusal":
                said = {"delta": {_DELTAS[event.kind]: event.value.decode()}}
            case "tool_call":
                said = {"delta": {"tool_calls": [_call(event.fields(), state.calls)]}}
            case "done":
                said = {"delta": {}, "finish_reason": event.fields()["finish_reason"]}
            case "error" | "cancelled":
                said = {"error": {"code": event.fields().get("code", event.kind)}}
            case _:
                return b""
        return b"data: %b\n\n" % json_line({"id": f"chat-{state.stream}", "at": position.offset, **said})

    def deltas(self, page: DeltaPage, nonce: bytes, state: _State) -> bytes:
        return one_by_one(self, page, nonce, state)

    def notice(self, notice: Notice, state: _State | None) -> bytes:
        match notice:
            case Start():
                return b"data: %b\n\n" % json_line({"id": f"chat-{notice.stream}", "delta": {"role": "assistant"}})
            case Heartbeat():
                return b": hb\n"
            case Gap() | Gone() | Reset():
                return b"data: %b\n\n" % json_line({"error": {"code": type(notice).__name__.lower()}})
            case _:
                return b""

    def closing(self, state: _State) -> bytes:
        return b"" if state.is_failed else b"data: [DONE]\n\n"


def _call(fields: dict[str, Any], calls: tuple[int, ...]) -> dict[str, Any]:
    if "id" in fields:
        function = {"name": fields["name"], "arguments": fields["arguments_delta"]}
        return {"index": len(calls), "id": fields["id"], "type": "function", "function": function}
    index = len(calls) - 1 - calls[::-1].index(fields["index"])
    return {"index": index, "function": {"arguments": fields["arguments_delta"]}}


PROTOTYPE = Prototype()
