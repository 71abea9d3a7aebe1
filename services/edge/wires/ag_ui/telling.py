"""A run as its events: which messages and calls are open, and what each event of the log adds to them.

Text is a message as long as nothing else is said, and so is reasoning. A call belongs to the last text before it, or
to a message of its own, and is open to the end, as a provider may go back to it.
"""

from typing import Any, NamedTuple

from services.edge.wires.ag_ui import frames
from services.edge.wires.ag_ui.frames import frame
from shared.log.events import Event, json_line

__all__ = ("Telling", "closed", "kind_of", "opened_again", "told")


class Call(NamedTuple):
    number: int
    id: str
    name: str
    parent: str


class Telling(NamedTuple):
    """A run as far as it was told: `kind` is that of the message that is open, `head` begins its pieces.

    `messages` were begun. `parent` has the next call; `reasoning` is what was reasoned last.
    """

    stream: str
    thread: str = ""
    run: str = ""
    messages: int = 0
    kind: str = ""
    message: str = ""
    head: bytes = b""
    parent: str = ""
    reasoning: str = ""
    calls: tuple[Call, ...] = ()

    @property
    def ids(self) -> dict[str, str]:
        """Return the members by which the client knows its run."""
        return {"threadId": self.thread or self.stream, "runId": self.run or self.stream}


def kind_of(event: Event) -> str:
    """The kind of message that a delta is a piece of; nothing if it is no delta."""
    if event.kind == "reasoning":
        return event.kind
    return "text" if event.kind in {"text", "refusal"} else ""


def told(state: Telling, event: Event) -> tuple[Telling, bytes]:
    """The state after an event, and the frames for it; none for what this protocol has no words for."""
    if kind := kind_of(event):
        return _said(state, kind, event.value.decode())
    match event.kind:
        case "tool_call":
            return _called(state, event.fields())
        case "reasoning_end":
            return _reasoned(state, event.fields()["provider_data"])
        case "annotation" | "file":
            return state, frame("CUSTOM", name=f"tailrace.{event.kind}", value=event.fields())
        case "done" | "error" | "cancelled":
            return state, _ended(state, event)
    return state, b""


def opened_again(state: Telling) -> bytes:
    """The beginnings of all that is open, for a client that has been given the messages as they are."""
    started = b"".join([_call_started(call) for call in state.calls])
    return started + (_started(state.kind, state.message) if state.kind else b"")


def closed(state: Telling) -> bytes:
    """The ends of all that is open."""
    return _closed(state)[1] + b"".join([frame("TOOL_CALL_END", toolCallId=call.id) for call in state.calls])


def _said(state: Telling, kind: str, text: str) -> tuple[Telling, bytes]:
    begun = b""
    if kind != state.kind:
        state, begun = _opened(state, kind)
    return state, begun + (b"%b%b}\n\n" % (state.head, json_line(text)) if text else b"")


def _opened(state: Telling, kind: str) -> tuple[Telling, bytes]:
    state, ended = _closed(state)
    message = f"{state.stream}-{'r' if kind == 'reasoning' else 'm'}{state.messages}"
    state = state._replace(
        messages=state.messages + 1,
        kind=kind,
        message=message,
        head=frames.content_head(kind, message),
        parent=message if kind == "text" else state.parent,
        reasoning=message if kind == "reasoning" else state.reasoning,
    )
    return state, ended + _started(kind, message)


def _started(kind: str, message: str) -> bytes:
    if kind == "text":
        return frame("TEXT_MESSAGE_START", messageId=message, role="assistant")
    begun = frame("REASONING_START", messageId=message)
    return begun + frame("REASONING_MESSAGE_START", messageId=message, role="reasoning")


def _closed(state: Telling) -> tuple[Telling, bytes]:
    """The end of the message that is open, if one is."""
    ended = b""
    if state.kind == "text":
        ended = frame("TEXT_MESSAGE_END", messageId=state.message)
    elif state.kind:
        ended = frame("REASONING_MESSAGE_END", messageId=state.message)
        ended += frame("REASONING_END", messageId=state.message)
    return state._replace(kind="", message="", head=b""), ended


def _called(state: Telling, fields: dict[str, Any]) -> tuple[Telling, bytes]:
    piece = fields["arguments_delta"]
    if "id" not in fields:
        call = next(call for call in reversed(state.calls) if call.number == fields["index"])
        return state, _arguments(call, piece)
    state, ended = _closed(state)
    if not state.parent:
        state = state._replace(parent=f"{state.stream}-m{state.messages}", messages=state.messages + 1)
    call = Call(fields["index"], fields["id"], fields["name"], state.parent)
    started = _call_started(call)
    if fields.get("provider_data"):
        started += _kept("tool-call", call.id, fields["provider_data"])
    return state._replace(calls=(*state.calls, call)), ended + started + _arguments(call, piece)


def _call_started(call: Call) -> bytes:
    return frame("TOOL_CALL_START", toolCallId=call.id, toolCallName=call.name, parentMessageId=call.parent)


def _arguments(call: Call, piece: str) -> bytes:
    return frame("TOOL_CALL_ARGS", toolCallId=call.id, delta=piece) if piece else b""


def _reasoned(state: Telling, provider_data: dict[str, Any]) -> tuple[Telling, bytes]:
    """The end of the reasoning; some providers show nothing of it but this."""
    begun = b""
    if state.kind != "reasoning":
        state, begun = _opened(state, "reasoning")
    kept = _kept("message", state.message, provider_data)
    state, ended = _closed(state)
    return state, begun + kept + ended


def _kept(subtype: str, entity: str, provider_data: dict[str, Any]) -> bytes:
    """The data that the provider wants back with the next turn: the client keeps it, and cannot read it."""
    value = json_line(provider_data).decode()
    return frame("REASONING_ENCRYPTED_VALUE", subtype=subtype, entityId=entity, encryptedValue=value)


def _ended(state: Telling, event: Event) -> bytes:
    if event.kind == "error":
        return _closed(state)[1] + frames.failure_of(event)
    if event.kind == "cancelled":
        return closed(state) + frames.cancelled(state.ids)
    return closed(state) + frames.finished(state.ids, event, [call.id for call in state.calls])
