"""The state of the wire: which item is open, and what was said in it. A pure function of the log.

What was said is kept up to a bound, because an item that ends is told once more as a whole. The text of a longer one
is in the last frame only, which is made of the log.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from services.edge.wires.openai_responses.items import Naming
from shared.log.events import DELTA_KINDS, Event, LogEntry
from shared.log.lineage import Fence, Lineage
from shared.log.page import DeltaPage
from shared.store.state import Meta

__all__ = ("LONG_BYTES", "OpenItem", "State", "advanced", "begins_item", "begun", "continued", "writer_of")

# Of one item that is told again when it ends.
LONG_BYTES: Final = 64 * 1024

# The pieces of a text, newest first, as (earlier, piece): what readers share of it they share as it grows.
_Said = tuple[Any, bytes] | None


class OpenItem(NamedTuple):
    """The item that deltas of `kind` go to. `said` is all of its text, unless it `is_long`."""

    kind: str
    number: int
    said: _Said = None
    said_bytes: int = 0
    annotations: tuple[Any, ...] = ()
    notes: int = 0

    @property
    def is_long(self) -> bool:
        return self.said_bytes > LONG_BYTES

    def text(self) -> str:
        pieces, said = [], self.said
        while said is not None:
            said, piece = said
            pieces.append(piece)
        return b"".join(reversed(pieces)).decode()

    def with_text(self, pieces: Sequence[bytes]) -> "OpenItem":
        said_bytes = self.said_bytes + sum(map(len, pieces))
        if said_bytes > LONG_BYTES:
            return self._replace(said=None, said_bytes=said_bytes)
        said = self.said
        for piece in pieces:
            said = (said, piece)
        return self._replace(said=said, said_bytes=said_bytes)


class State(NamedTuple):
    """`items` have begun. `unfinished` are those but the open one that have not ended, with their kinds.

    `calls` are all calls: the number that their provider gave them, and that of their item.
    """

    stream_id: str
    model: str
    created_ms: int
    fences: tuple[Fence, ...]
    began: int = 0
    items: int = 0
    open: OpenItem | None = None
    calls: tuple[tuple[int, int], ...] = ()
    unfinished: tuple[tuple[int, str], ...] = ()
    has_text: bool = False
    ending: Event | None = None

    @property
    def without_end(self) -> tuple[tuple[int, str], ...]:
        """The unfinished items and the open one, in their order."""
        item = self.open
        return self.unfinished if item is None else tuple(sorted((*self.unfinished, (item.number, item.kind))))

    @property
    def naming(self) -> Naming:
        return Naming.of(self.stream_id, max(self.began, 1))

    def item_of_call(self, index: int) -> int | None:
        """The newest item of a call with this number."""
        return next((number for known, number in reversed(self.calls) if known == index), None)


def begun(meta: Meta) -> State:
    """The state before the first event."""
    fences = tuple(sorted(meta.fences, key=lambda fence: fence.attempt))
    return State(meta.id, meta.model, meta.created_ms, fences, meta.lineage.beginning)


def writer_of(state: State, entry: LogEntry) -> int:
    """Return the attempt that began an event. One that was folded can have been ended by a later one."""
    attempt = entry.position.attempt
    if len(state.fences) < 2 or attempt > state.fences[-1].attempt:
        return attempt
    return Lineage(state.fences, 0).event_id(entry.start + 1).position.attempt


def advanced(state: State, entries: Sequence[LogEntry]) -> State:
    """The state after these entries."""
    open_item = state.open
    if isinstance(entries, DeltaPage) and open_item is not None:
        kind = open_item.kind.encode()
        if all(each == kind for each in entries.kinds):
            return state._replace(open=open_item.with_text(entries.values))
    for entry in entries:
        state = _after(state, entry)
    return state


def begins_item(state: State, event: Event) -> bool:
    """Return whether a part of the message begins with this event."""
    open_kind = state.open.kind if state.open is not None else None
    match event.kind:
        case "text" | "reasoning" | "refusal":
            return event.kind != open_kind
        case "tool_call":
            fields = event.fields()
            return "id" in fields or state.item_of_call(fields["index"]) is None
        case "file":
            return "url" in event.fields()
        case "reasoning_end":
            return open_kind != "reasoning"
        case "annotation":
            return not state.has_text
        case _:
            return False


def continued(state: State, entry: LogEntry) -> State:
    """The state with the names of the log that begins with this entry, if it is the first."""
    return state if entry.start else state._replace(began=writer_of(state, entry))


def _after(state: State, entry: LogEntry) -> State:
    state = continued(state, entry)
    event = entry.event
    if begins_item(state, event):
        state = _with_item(state, event)
    if event.kind in DELTA_KINDS and state.open is not None:
        return state._replace(open=state.open.with_text((event.value,)))
    if event.kind == "reasoning_end":
        return state._replace(open=None, unfinished=_left(state))
    if event.kind == "annotation" and state.open is not None and state.open.kind == "text":
        return state._replace(open=_noted(state.open, event))
    return state._replace(ending=event) if event.is_terminal else state


def _with_item(state: State, event: Event) -> State:
    """The state with one item more; the one that was open has ended, unless it is too long to be told again."""
    number, kind = state.items, "text" if event.kind == "annotation" else event.kind
    state = state._replace(items=number + 1, unfinished=_left(state), open=None)
    if kind == "tool_call":
        call = (event.fields()["index"], number)
        return state._replace(calls=(*state.calls, call), unfinished=(*state.unfinished, (number, kind)))
    if kind == "file":
        return state._replace(unfinished=(*state.unfinished, (number, kind)))
    if kind == "reasoning_end":
        return state._replace(open=OpenItem("reasoning", number))
    return state._replace(open=OpenItem(kind, number), has_text=state.has_text or kind == "text")


def _left(state: State) -> tuple[tuple[int, str], ...]:
    """Return the unfinished items, once nothing is open any more."""
    item = state.open
    return state.unfinished if item is None or not item.is_long else (*state.unfinished, (item.number, item.kind))


def _noted(item: OpenItem, event: Event) -> OpenItem:
    said_bytes = item.said_bytes + len(event.value)
    noted = item._replace(said_bytes=said_bytes, notes=item.notes + 1)
    if said_bytes > LONG_BYTES:
        return noted._replace(said=None, annotations=())
    return noted._replace(annotations=(*item.annotations, event.fields()["annotation"]))
