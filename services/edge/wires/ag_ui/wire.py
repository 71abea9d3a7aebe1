"""The wire of AG-UI 1.0.

Its clients have no cursor and take a clean end for the end of the run, so that there is none before `RUN_FINISHED` or
`RUN_ERROR`. What they were told is taken back with a snapshot of all messages, those of the question included: only
whoever asked on this connection can be given it.
"""

import zlib
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

import orjson

from services.edge.wires.ag_ui import frames
from services.edge.wires.ag_ui.frames import frame
from services.edge.wires.ag_ui.snapshot import Messages
from services.edge.wires.ag_ui.telling import Telling, closed, kind_of, opened_again, told
from services.edge.wires.notices import Gap, Gone, Heartbeat, Notice, Reset, Start
from services.edge.wires.wire import Wire, one_by_one
from shared.log.events import LogEntry
from shared.log.page import DeltaPage
from shared.store.state import Meta

__all__ = ("AG_UI", "RUN_ID", "THREAD_ID", "AgUi")

# In a stream's metadata: what its client calls the thread and the run.
THREAD_ID: Final = "ag_ui_thread_id"
RUN_ID: Final = "ag_ui_run_id"
_REASONING_KINDS: Final = frozenset({b"reasoning"})
_TEXT_KINDS: Final = frozenset({b"text", b"refusal"})


class AgUi:
    """Events of AG-UI. With the messages that the client has, it can take back what it told; frames are the same."""

    name = "ag-ui"
    media_type = "text/event-stream; charset=utf-8"
    accepts: tuple[str, ...] = ()
    example = 'data: {"type":"TEXT_MESSAGE_CONTENT","messageId":"0b5c-m0","delta":"Hello"}\nid: 1-5.9f2c01ab\n\n'
    has_state = True
    headers: tuple[tuple[bytes, bytes], ...] = ()
    retires = False

    def __init__(self, history: Sequence[dict[str, Any]] | None = None) -> None:
        # Kept as long as its reader, for a case that is rare.
        self._history = None if history is None else zlib.compress(orjson.dumps(history), 1)
        self.final = frozenset[type[Notice]]({Gap, Gone, Reset} if history is None else {Gap, Gone})

    def __eq__(self, other: object) -> bool:
        """Tell all of these alike: who shares a stream shares its frames."""
        return isinstance(other, AgUi)

    def __hash__(self) -> int:
        return hash(self.name)

    def begin(self, meta: Meta) -> Telling:
        return Telling(meta.id, meta.metadata.get(THREAD_ID, ""), meta.metadata.get(RUN_ID, ""))

    def after(self, state: Telling, entries: Sequence[LogEntry]) -> Telling:
        if isinstance(entries, DeltaPage) and _continues(state, entries):
            return state
        for _, event in entries:
            if not event.is_terminal and (not state.kind or kind_of(event) != state.kind):
                state, _ = told(state, event)
        return state

    def opening(self, retry_ms: int) -> bytes:
        return b""

    def frame(self, event_id: str, entry: LogEntry, state: Telling) -> bytes:
        return frames.with_id(told(state, entry.event)[1], event_id)

    def deltas(self, page: DeltaPage, nonce: bytes, state: Telling) -> bytes:
        if _continues(state, page) and b"" not in page.values:
            return page.formatted(partial(frames.delta, state.head), nonce)
        return one_by_one(self, page, nonce, state)

    def notice(self, notice: Notice, state: Telling | None) -> bytes:
        match notice:
            case Start():
                return frame("RUN_STARTED", **(state or Telling(notice.stream)).ids, protocolVersion="1.0")
            case Heartbeat():
                return b": hb\n"
            case Reset() if self._history is not None and state is not None:
                return closed(state) + self._snapshot(notice, state)
            case Reset():
                message = "The answer was begun anew, and what you have of it is no longer part of it."
                return frames.failed("attempt_restarted", message)
            case Gone():
                return frames.failed(notice.code, notice.message)
            case Gap():
                message = "A part of the answer was trimmed from the log before you could read it."
                return frames.failed("log_trimmed", message)
            case _:
                return b""

    def closing(self, state: Telling) -> bytes:
        return b""

    def _snapshot(self, reset: Reset, state: Telling) -> bytes:
        """All messages as they are now, and the beginnings of what goes on."""
        assert self._history is not None
        said = Messages(Telling(state.stream, state.thread, state.run), reset.parts)
        listed = [*orjson.loads(zlib.decompress(self._history)), *said.listed()]
        if state.reasoning and not any(message.get("role") == "reasoning" for message in listed):
            # Without one, clients would keep those that they have.
            listed.append({"id": state.reasoning, "role": "reasoning", "content": ""})
        snapshot = frame("MESSAGES_SNAPSHOT", messages=listed) + opened_again(said.state)
        return frames.with_id(snapshot, str(reset.cursor))


def _continues(state: Telling, page: DeltaPage) -> bool:
    """Return whether the page is nothing but more of the message that is open."""
    if not state.kind:
        return False
    wanted = _REASONING_KINDS if state.kind == "reasoning" else _TEXT_KINDS
    return wanted.issuperset(page.kinds)


AG_UI: Final[Wire] = AgUi()
