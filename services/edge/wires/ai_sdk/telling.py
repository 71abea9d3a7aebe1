"""A message as its chunks: what is open, and what each event of the log adds to it.

Parts begin and end where those of `Content` do, so that what a reset hands over and what follows it fit together.
"""

from typing import Any, Final, NamedTuple

from services.edge.wires.ai_sdk import chunks
from services.edge.wires.ai_sdk.chunks import chunk
from shared.log.events import DELTA_KINDS, Event, json_line

__all__ = ("Telling", "told")

# The newest piece and those before it: one more is added for nothing, and joined they are once, at the end.
Pieces = tuple[Any, str] | None

_REFUSAL: Final = {"refusal": True}


class Call(NamedTuple):
    number: int
    id: str
    name: str
    pieces: Pieces


class File(NamedTuple):
    number: int
    media_type: str
    pieces: Pieces


class Telling(NamedTuple):
    """A message as far as it was told: `kind` is that of the text part that is open, `head` begins its deltas.

    `parts` were begun, `sources` cited. Of `calls` and the `file` all pieces are kept: they are told whole at the end.
    """

    message_id: str
    parts: int = 0
    kind: str = ""
    head: bytes = b""
    has_text: bool = False
    sources: int = 0
    calls: tuple[Call, ...] = ()
    file: File | None = None


def told(state: Telling, event: Event) -> tuple[Telling, bytes]:
    """The state after an event, and the chunks for it; none for what this format has no words for."""
    if event.kind in DELTA_KINDS:
        return _said(state, event.kind, event.value.decode())
    match event.kind:
        case "tool_call":
            return _called(state, event.fields())
        case "reasoning_end":
            return _reasoned(state, event.fields()["provider_data"])
        case "annotation":
            return _noted(state, event.fields()["annotation"])
        case "file":
            return _filed(state, event.fields())
        case "done" | "error" | "cancelled":
            return state, _ended(state, event)
    return state, b""


def _said(state: Telling, kind: str, text: str) -> tuple[Telling, bytes]:
    opened = b""
    if kind != state.kind:
        state, opened = _opened(state, kind)
    return state, opened + (chunks.delta(state.head, b"", b"", b"", json_line(text)) if text else b"")


def _opened(state: Telling, kind: str) -> tuple[Telling, bytes]:
    """A text part of this kind begins, after whatever was open."""
    state, ended = _closed(state)
    name, number = "reasoning" if kind == "reasoning" else "text", str(state.parts)
    head = json_line({"type": f"{name}-delta", "id": number}).removesuffix(b"}")
    begun = chunk(f"{name}-start", id=number, **chunks.metadata_of(_REFUSAL if kind == "refusal" else None))
    state = state._replace(
        parts=state.parts + 1,
        kind=kind,
        head=b'data: %b,"delta":' % head,
        has_text=state.has_text or kind == "text",
    )
    return state, ended + begun


def _closed(state: Telling, **metadata: Any) -> tuple[Telling, bytes]:
    """The end of a part that is open: a text, or a file."""
    ended = b""
    if state.file is not None:
        url = _joined(state.file.pieces)
        ended = chunk("file", url=url, mediaType=state.file.media_type or _media_type(url))
    elif state.kind:
        name = "reasoning" if state.kind == "reasoning" else "text"
        ended = chunk(f"{name}-end", id=str(state.parts - 1), **metadata)
    return state._replace(kind="", head=b"", file=None), ended


def _called(state: Telling, fields: dict[str, Any]) -> tuple[Telling, bytes]:
    index, piece = fields["index"], fields["arguments_delta"]
    place = next((place for place in reversed(range(len(state.calls))) if state.calls[place].number == index), None)
    if place is not None and "id" not in fields:
        call = state.calls[place]
        calls = (*state.calls[:place], call._replace(pieces=(call.pieces, piece)), *state.calls[place + 1 :])
        return state._replace(calls=calls), _input_delta(call.id, piece)
    state, ended = _closed(state)
    call = Call(index, fields.get("id", ""), fields.get("name", ""), (None, piece))
    more = chunks.metadata_of(fields.get("provider_data"))
    begun = chunk("tool-input-start", toolCallId=call.id, toolName=call.name, **more)
    state = state._replace(parts=state.parts + 1, calls=(*state.calls, call))
    return state, ended + begun + _input_delta(call.id, piece)


def _input_delta(call_id: str, piece: str) -> bytes:
    return chunk("tool-input-delta", toolCallId=call_id, inputTextDelta=piece) if piece else b""


def _reasoned(state: Telling, provider_data: dict[str, Any]) -> tuple[Telling, bytes]:
    """The end of the reasoning; some providers show nothing of it but this."""
    opened = b""
    if state.kind != "reasoning":
        state, opened = _opened(state, "reasoning")
    state, ended = _closed(state, **chunks.metadata_of(provider_data))
    return state, opened + ended


def _noted(state: Telling, annotation: object) -> tuple[Telling, bytes]:
    """It belongs to the text that was said last, which stays open; if none was, to one that begins with it."""
    opened = b""
    if not state.has_text:
        state, opened = _opened(state, "text")
    return state._replace(sources=state.sources + 1), opened + chunks.noted(annotation, state.sources)


def _filed(state: Telling, fields: dict[str, Any]) -> tuple[Telling, bytes]:
    """A file is told when it is whole: when anything else comes."""
    file = state.file
    if "url" not in fields:
        if file is None or file.number != fields["index"]:
            return state, b""
        return state._replace(file=file._replace(pieces=(file.pieces, fields["url_delta"]))), b""
    state, ended = _closed(state)
    begun = File(fields["index"], fields.get("media_type", ""), (None, fields["url"]))
    return state._replace(parts=state.parts + 1, file=begun), ended


def _ended(state: Telling, event: Event) -> bytes:
    closed = _closed(state)[1]
    if event.kind == "cancelled":
        return closed + chunks.aborted()
    if event.kind == "error":
        return closed + chunks.failure_of(event)
    inputs = [chunks.input_of(call.id, call.name, _joined(call.pieces)) for call in state.calls]
    return closed + b"".join(inputs) + chunks.finished(event)


def _joined(pieces: Pieces) -> str:
    found = []
    while pieces is not None:
        pieces, piece = pieces
        found.append(piece)
    return "".join(reversed(found))


def _media_type(url: str) -> str:
    """Return that of a data URL; nobody has said what another one leads to."""
    scheme, _, rest = url[:256].partition(":")
    named = rest.partition(",")[0].partition(";")[0]
    return named if scheme == "data" and named else "application/octet-stream"
