"""The events of OpenAI's Responses API.

Its clients have a cursor, the number of the last event they saw, and can be told that an item was broken off and that
others follow. They want an item as a whole when it ends, and the response as a whole at the end.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from services.edge.wires.notices import Gap, Gone, Heartbeat, Notice, Reset, Start
from services.edge.wires.openai_responses.frames import Said, beginning, delta_around, ending, framed, told_bytes
from services.edge.wires.openai_responses.items import begun_item
from services.edge.wires.openai_responses.numbers import (
    CREATED,
    FIRST_PHASE,
    IN_PROGRESS,
    LAST_NUMBER,
    number_of,
    taken_back,
)
from services.edge.wires.openai_responses.response import begun_response, response_of
from services.edge.wires.openai_responses.state import (
    LONG_BYTES,
    State,
    advanced,
    begins_item,
    begun,
    continued,
    writer_of,
)
from services.edge.wires.wire import WireState, one_by_one
from shared.log.events import DELTA_KINDS, Event, LogEntry, json_line
from shared.log.page import DeltaPage
from shared.store.message import Assembled
from shared.store.state import Meta

__all__ = ("RESPONSES",)

_ENDINGS: Final = {"completed": "response.completed", "failed": "response.failed"}


class _Responses:
    """Response events. The last ones are made of the whole message, in `conclusion`."""

    name = "responses"
    media_type = "text/event-stream; charset=utf-8"
    accepts: tuple[str, ...] = ()
    example = (
        'event: response.output_text.delta\ndata: {"type":"response.output_text.delta","sequence_number":160,'
        '"item_id":"msg_0b5c…_0","output_index":0,"content_index":0,"delta":"Hello","logprobs":[]}\n\n'
    )
    final = frozenset[type[Notice]]({Gap, Gone, Reset})
    has_state = True
    headers: tuple[tuple[bytes, bytes], ...] = ()
    retires = False

    def begin(self, meta: Meta) -> State:
        return begun(meta)

    def after(self, state: State, entries: Sequence[LogEntry]) -> State:
        return advanced(state, entries)

    def opening(self, retry_ms: int) -> bytes:
        return b""

    def frame(self, event_id: str, entry: LogEntry, state: State) -> bytes:
        state = continued(state, entry)
        attempt = writer_of(state, entry)
        before = [
            framed(said, number_of(attempt, entry.start, phase))
            for phase, said in enumerate(_before(state, entry.event), FIRST_PHASE)
        ]
        return b"".join(before) + _piece(state, entry)

    def deltas(self, page: DeltaPage, nonce: bytes, state: State) -> bytes:
        item = state.open
        if item is None or any(kind != item.kind.encode() for kind in page.kinds):
            return one_by_one(self, page, nonce, state)
        head, middle, behind = delta_around(state.naming, item.kind, item.number)

        def delta(entry_id: bytes, nonce: bytes, kind: bytes, line: bytes) -> bytes:
            attempt, _, offset = entry_id.partition(b"-")
            return b"%b%d%b%b%b" % (head, number_of(int(attempt), int(offset)), middle, line, behind)

        return page.formatted(delta, nonce)

    def notice(self, notice: Notice, state: WireState) -> bytes:
        match notice:
            case Start():
                response = {"response": begun_response(notice.stream, notice.model, notice.created_ms)}
                created = framed(Said("response.created", response), CREATED)
                return created + framed(Said("response.in_progress", response), IN_PROGRESS)
            case Heartbeat():
                return b": hb\n"
            case Gone():
                return _broken_off(notice.code, notice.message)
            case Reset():
                message = "What you have of the answer is no longer part of it; retrieve the response for what is."
                return _broken_off("attempt_restarted", message)
            case Gap():
                return _broken_off("log_trimmed", "A part of the answer was trimmed before you could read it.")
            case _:
                return b""

    def closing(self, state: State) -> bytes:
        return b""

    # What a numbered wire has beside that.

    def told(self, payload: bytes, number: int) -> int:
        return told_bytes(payload, number)

    def restart(self, meta: Meta, state: WireState) -> bytes | None:
        """The items that are broken off. A call that was begun may be under way: that cannot be taken back."""
        known: State | None = state
        if known is not None and known.calls:
            return None
        attempt = meta.lineage.beginning
        frames = [
            framed(said, taken_back(attempt, which)) for which, said in enumerate(_taken_back(known) if known else ())
        ]
        response = {"response": begun_response(meta.id, meta.model, meta.created_ms)}
        return b"".join(frames) + framed(Said("response.in_progress", response), number_of(attempt, 0, IN_PROGRESS))

    def conclusion(self, whole: Assembled, state: State) -> Iterator[bytes] | None:
        parts, meta = whole.content.parts(), whole.meta
        if not meta.is_over or len(parts) != state.items:
            return None
        return _concluded(whole, parts, state)


def _before(state: State, event: Event) -> Iterator[Said]:
    """The frames of an event before its piece of text: the end of one item, the beginning of another."""
    is_new = begins_item(state, event)
    if (is_new or event.kind == "reasoning_end") and state.open is not None and not state.open.is_long:
        yield from _ended(state, "completed")
    if is_new:
        kind = {"annotation": "text", "reasoning_end": "reasoning"}.get(event.kind, event.kind)
        fields = {} if kind in DELTA_KINDS else event.fields()
        yield from beginning(state.naming, state.items, kind, fields)
        if event.kind == "reasoning_end":
            empty = {"type": "reasoning", "text": ""}
            yield from ending(state.naming, state.items, empty, "completed", is_short=True)
    if event.kind == "annotation":
        yield from _annotation(state, event, is_new=is_new)


def _ended(state: State, status: str) -> Iterator[Said]:
    item = state.open
    assert item is not None
    part = {"type": item.kind, "text": item.text(), "annotations": item.annotations}
    yield from ending(state.naming, item.number, part, status, is_short=True)


def _annotation(state: State, event: Event, *, is_new: bool) -> Iterator[Said]:
    """An annotation of the text that is being said; one of an earlier text is with the whole at the end."""
    item = state.open
    if not is_new and (item is None or item.kind != "text"):
        return
    number, notes = (state.items, 0) if is_new or item is None else (item.number, item.notes)
    fields = {
        "item_id": state.naming.id("text", number),
        "output_index": state.naming.output_index(number),
        "content_index": 0,
        "annotation_index": notes,
        "annotation": event.fields()["annotation"],
    }
    yield Said("response.output_text.annotation.added", fields)


def _piece(state: State, entry: LogEntry) -> bytes:
    """The frame of a piece of text or arguments."""
    event = entry.event
    is_new = begins_item(state, event)
    if event.kind in DELTA_KINDS:
        item = state.open
        number = state.items if is_new or item is None else item.number
        text = event.value.decode()
    elif event.kind == "tool_call":
        fields = event.fields()
        known = state.item_of_call(fields["index"])
        number = state.items if is_new or known is None else known
        text = fields["arguments_delta"]
    else:
        return b""
    if not text:
        return b""
    head, middle, behind = delta_around(state.naming, event.kind, number)
    return b"%b%d%b%b%b" % (head, number_of(*entry.position), middle, json_line(text), behind)


def _taken_back(state: State) -> Iterator[Said]:
    item = state.open
    if item is not None and not item.is_long:
        yield from _ended(state, "incomplete")
        state = state._replace(open=None)
    for number, kind in state.without_end:
        left = {**begun_item(state.naming, number, kind, {}), "status": "incomplete"}
        yield Said("response.output_item.done", {"output_index": state.naming.output_index(number), "item": left})


def _concluded(whole: Assembled, parts: list[dict[str, Any]], state: State) -> Iterator[bytes]:
    meta = whole.meta
    end = meta.lineage.event_id(meta.tail).position
    response = response_of(whole, state.ending)
    numbers = iter(range(number_of(*end, 1), LAST_NUMBER))
    status = "completed" if response["status"] == "completed" else "incomplete"
    for number, _ in state.without_end:
        part = parts[number]
        if part["type"] == "tool_call" and status != "completed":
            continue  # a client would make the call, with half of its arguments
        is_short = len(part.get("text", part.get("arguments", ""))) <= LONG_BYTES
        for said in ending(state.naming, number, part, status, is_short=is_short):
            yield framed(said, next(numbers))
    kind = _ENDINGS.get(response["status"], "response.incomplete")
    yield framed(Said(kind, {"response": response}), next(numbers))


def _broken_off(code: str, message: str) -> bytes:
    """The last frame of a connection that cannot go on. `error` is what makes the Python SDK raise."""
    error = {"type": "server_error", "code": code, "message": message, "param": None}
    said = Said("error", {"code": code, "message": message, "param": None, "error": error})
    return framed(said, LAST_NUMBER)


RESPONSES: Final = _Responses()
