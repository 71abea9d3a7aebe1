"""The events of Anthropic's Messages API.

A message is a row of blocks, numbered from 0. Text and thinking are one block as long as nothing else is said; a tool's
block stays open to the end, because a provider may go on with an earlier call. Clients keep what they were given and
have no cursor: a new attempt, or a hole, after the first word is an error, and whoever has to go is cut off.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any, Final, NamedTuple

from services.edge.wires.notices import Gap, Gone, Heartbeat, Notice, Reset, Start
from services.edge.wires.wire import Wire, WireState, one_by_one
from shared.errors import TailraceError
from shared.log.events import Event, LogEntry, json_line
from shared.log.page import DeltaPage
from shared.store.state import Meta

__all__ = ("ANTHROPIC", "message_id", "said_error", "stop_reason_of", "usage_of")

# The kind of block that a kind of text belongs to, and the name and the member of its deltas.
_BLOCKS: Final = {"text": "text", "refusal": "text", "reasoning": "thinking"}
_DELTAS: Final = {"text": (b"text_delta", b"text"), "thinking": (b"thinking_delta", b"thinking")}
_EMPTY: Final[dict[str, dict[str, Any]]] = {
    "text": {"type": "text", "text": ""},
    "thinking": {"type": "thinking", "thinking": "", "signature": ""},
}
_REASONS: Final = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
_OWN_REASONS: Final = frozenset({"end_turn", "max_tokens", "stop_sequence", "tool_use", "pause_turn", "refusal"})


class _State(NamedTuple):
    """The number of the next block, the kind and number of the one that is being said, and the tools' blocks.

    `tools` has the log's number of a call and that of its block, latest last.
    """

    blocks: int = 0
    kind: str | None = None
    tools: tuple[tuple[int, int], ...] = ()
    is_refused: bool = False
    is_failed: bool = False

    @property
    def block(self) -> int:
        """The number of the block of text that is open: it is the last that was begun."""
        return self.blocks - 1


class _Anthropic:
    name = "anthropic"
    media_type = "text/event-stream; charset=utf-8"
    accepts: tuple[str, ...] = ()
    example = (
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,'
        '"delta":{"type":"text_delta","text":"Hello"}}\n\n'
    )
    final = frozenset[type[Notice]]({Gap, Gone, Reset})
    has_state = True
    headers: tuple[tuple[bytes, bytes], ...] = ()
    retires = False

    def begin(self, meta: Meta) -> _State:
        return _State()

    def after(self, state: _State, entries: Sequence[LogEntry]) -> _State:
        if isinstance(entries, DeltaPage) and _is_all_of(entries, state.kind):
            return state
        for _, event in entries:
            state = _after(state, event)
        return state

    def opening(self, retry_ms: int) -> bytes:
        return b""

    def frame(self, event_id: str, entry: LogEntry, state: _State) -> bytes:
        event = entry.event
        if event.kind in _BLOCKS:
            return _said(event, state)
        match event.kind:
            case "tool_call":
                return _called(event.fields(), state)
            case "reasoning_end":
                return _signed(event.fields()["provider_data"], state)
            case "done":
                return _done(event.fields(), state)
            case "error":
                fields = event.fields()
                return _event(said_error(fields["code"], fields.get("message", TailraceError.text)))
            case "cancelled":
                return _event(said_error("cancelled", "The answer was cancelled."))
            case _:
                return b""

    def deltas(self, page: DeltaPage, nonce: bytes, state: _State) -> bytes:
        if not _is_all_of(page, state.kind):
            return one_by_one(ANTHROPIC, page, nonce, state)
        assert state.kind is not None
        return page.formatted(partial(_delta, state.block, *_DELTAS[state.kind]), nonce)

    def notice(self, notice: Notice, state: WireState) -> bytes:
        match notice:
            case Start():
                return _event({"type": "message_start", "message": _started(notice)})
            case Heartbeat():
                return b": hb\n"
            case Gone():
                return _event(said_error(notice.code, notice.message))
            case Reset():
                message = "The answer was begun anew, and what you have of it is no longer part of it."
                return _event(said_error("attempt_restarted", message))
            case Gap():
                message = "A part of the answer was trimmed from the log before you could read it."
                return _event(said_error("log_trimmed", message))
            case _:
                return b""

    def closing(self, state: _State) -> bytes:
        return b"" if state.is_failed else _event({"type": "message_stop"})


def message_id(stream_id: str) -> str:
    return f"msg_{stream_id}"


def stop_reason_of(reason: str, *, is_refused: bool) -> str:
    """Return a finish reason of the log in the words of this API."""
    if is_refused:
        return "refusal"
    return reason if reason in _OWN_REASONS else _REASONS.get(reason, "end_turn")


def usage_of(usage: dict[str, Any] | None) -> dict[str, Any]:
    """Return the usage of a stream in the shape of this API; what nobody reported is 0."""
    counts = usage or {}
    return {
        "input_tokens": counts.get("input_tokens", 0),
        "output_tokens": counts.get("output_tokens", 0),
        "cache_read_input_tokens": counts.get("cached_tokens", 0),
    }


def said_error(code: str, message: str, *, kind: str = "api_error") -> dict[str, Any]:
    """Return an error in the shape of this API; `code` is ours."""
    return {"type": "error", "error": {"type": kind, "message": message, "code": code}}


def _after(state: _State, event: Event) -> _State:
    kind = _BLOCKS.get(event.kind)
    if kind is not None:
        state = state if kind == state.kind else state._replace(blocks=state.blocks + 1, kind=kind)
        return state._replace(is_refused=True) if event.kind == "refusal" else state
    match event.kind:
        case "tool_call" if "id" in (fields := event.fields()):
            tools = (*state.tools, (fields["index"], state.blocks))
            return state._replace(blocks=state.blocks + 1, kind=None, tools=tools)
        case "reasoning_end" if (begun := _signature(event.fields()["provider_data"])) is not None and begun:
            # The next reasoning is a block of its own: this one is signed.
            blocks = state.blocks if state.kind == "thinking" else state.blocks + 1
            return state._replace(blocks=blocks, kind=None)
        case "error" | "cancelled":
            return state._replace(is_failed=True)
        case _:
            return state


def _said(event: Event, state: _State) -> bytes:
    kind = _BLOCKS[event.kind]
    line = json_line(event.value.decode())
    if kind == state.kind:
        return _delta(state.block, *_DELTAS[kind], b"", b"", b"", line)
    begun = {"type": "content_block_start", "index": state.blocks, "content_block": _EMPTY[kind]}
    return _stopped(state) + _event(begun) + _delta(state.blocks, *_DELTAS[kind], b"", b"", b"", line)


def _called(fields: dict[str, Any], state: _State) -> bytes:
    arguments = fields["arguments_delta"]
    if "id" not in fields:
        return _json_delta(next(block for call, block in reversed(state.tools) if call == fields["index"]), arguments)
    block = {"type": "tool_use", "id": fields["id"], "name": fields["name"], "input": {}}
    begun = {"type": "content_block_start", "index": state.blocks, "content_block": block}
    return _stopped(state) + _event(begun) + (_json_delta(state.blocks, arguments) if arguments else b"")


def _json_delta(block: int, arguments: str) -> bytes:
    delta = {"type": "input_json_delta", "partial_json": arguments}
    return _event({"type": "content_block_delta", "index": block, "delta": delta})


def _signed(provider_data: dict[str, Any], state: _State) -> bytes:
    """The signature that Anthropic wants back with the next turn. Other providers' data has no place here."""
    signature = _signature(provider_data)
    if not signature:
        return b""
    begun, block = b"", state.block
    if state.kind != "thinking":
        block = state.blocks
        start = {"type": "content_block_start", "index": block, "content_block": _EMPTY["thinking"]}
        begun = _stopped(state) + _event(start)
    delta = {"type": "signature_delta", "signature": signature}
    signed = _event({"type": "content_block_delta", "index": block, "delta": delta})
    return begun + signed + _event({"type": "content_block_stop", "index": block})


def _signature(provider_data: dict[str, Any]) -> str | None:
    signature = provider_data.get("signature")
    return signature if isinstance(signature, str) else None


def _done(fields: dict[str, Any], state: _State) -> bytes:
    delta = {
        "stop_reason": stop_reason_of(fields["finish_reason"], is_refused=state.is_refused),
        "stop_sequence": None,
    }
    tools = b"".join([_event({"type": "content_block_stop", "index": block}) for _, block in state.tools])
    ended = _event({"type": "message_delta", "delta": delta, "usage": usage_of(fields.get("usage"))})
    return _stopped(state) + tools + ended


def _stopped(state: _State) -> bytes:
    """The end of the block of text that is open, if one is."""
    return b"" if state.kind is None else _event({"type": "content_block_stop", "index": state.block})


def _started(start: Start) -> dict[str, Any]:
    return {
        "id": message_id(start.stream),
        "type": "message",
        "role": "assistant",
        "model": start.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_of(None),
    }


def _is_all_of(page: DeltaPage, kind: str | None) -> bool:
    """Return whether everything in the page goes on with the block that is open. Refusals change more than that."""
    if kind is None:
        return False
    wanted = b"reasoning" if kind == "thinking" else b"text"
    return page.kinds.count(wanted) == len(page.kinds)


def _event(fields: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (fields["type"].encode(), json_line(fields))


def _delta(index: int, name: bytes, member: bytes, entry_id: bytes, nonce: bytes, kind: bytes, line: bytes) -> bytes:
    return (
        b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
        b'"delta":{"type":"%b","%b":%b}}\n\n' % (index, name, member, line)
    )


ANTHROPIC: Final[Wire] = _Anthropic()
