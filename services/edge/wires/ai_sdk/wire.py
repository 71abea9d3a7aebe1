"""The UI message streams of `ai` 7 and 6.

Their clients have no cursor: who comes back is told all from the start, in a message of the same id. They take a clean
end for the end of the answer, so that there is none before `finish`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

from services.edge.wires.ai_sdk import chunks
from services.edge.wires.ai_sdk.chunks import chunk
from services.edge.wires.ai_sdk.telling import Telling, told
from services.edge.wires.notices import Gap, Gone, Heartbeat, Notice, Reset, Start
from services.edge.wires.parts import events_of
from services.edge.wires.wire import Unsayable, Wire, one_by_one
from shared.log.events import LogEntry
from shared.log.page import DeltaPage
from shared.store.state import Meta

__all__ = ("AI_SDK", "AI_SDK_6", "AI_SDK_AGAIN", "AI_SDK_ANEW", "MESSAGE_ID")

# In a stream's metadata: the message that it goes on with. Otherwise the message has the id of the stream.
MESSAGE_ID: Final = "ai_sdk_message_id"
_RESET: Final = chunk("reset-step")


class _AiSdk:
    """UI message chunks, after an `opening`. Only version 7 can take back a step."""

    media_type = "text/event-stream; charset=utf-8"
    accepts: tuple[str, ...] = ()
    example = 'data: {"type":"text-delta","id":"0","delta":"Hello"}\n\n'
    has_state = True
    headers: tuple[tuple[bytes, bytes], ...] = ((b"x-vercel-ai-ui-message-stream", b"v1"),)
    retires = False

    def __init__(self, name: str, *, can_reset: bool = True, opening: Callable[[str, bool], bytes]) -> None:
        self.name = name
        self.final = frozenset[type[Notice]]({Gap, Gone} if can_reset else {Gap, Gone, Reset})
        self._can_reset = can_reset
        self._opening = opening

    def begin(self, meta: Meta) -> Telling:
        return Telling(meta.metadata.get(MESSAGE_ID, meta.id))

    def after(self, state: Telling, entries: Sequence[LogEntry]) -> Telling:
        if isinstance(entries, DeltaPage) and _continues(state, entries):
            return state
        for _, event in entries:
            if event.kind != state.kind and not event.is_terminal:
                state, _ = told(state, event)
        return state

    def opening(self, retry_ms: int) -> bytes:
        return b""

    def frame(self, event_id: str, entry: LogEntry, state: Telling) -> bytes:
        return told(state, entry.event)[1]

    def deltas(self, page: DeltaPage, nonce: bytes, state: Telling) -> bytes:
        if _continues(state, page):
            return page.formatted(partial(chunks.delta, state.head), nonce)
        return one_by_one(self, page, nonce, state)

    def notice(self, notice: Notice, state: Telling | None) -> bytes:
        match notice:
            case Start():
                message_id = notice.stream if state is None else state.message_id
                return self._opening(message_id, message_id != notice.stream)
            case Heartbeat():
                return b": hb\n"
            case Reset() if self._can_reset:
                return _RESET + _retold(notice)
            case Reset():
                raise Unsayable
            case Gone():
                return chunks.failed(notice.code, notice.message)
            case Gap():
                message = "A part of the answer was trimmed from the log before you could read it."
                return chunks.failed("log_trimmed", message)
            case _:
                return b""

    def closing(self, state: Telling) -> bytes:
        return chunks.DONE


def _continues(state: Telling, page: DeltaPage) -> bool:
    """Return whether the page is nothing but more of the text part that is open."""
    return page.kinds.count(state.kind.encode()) == len(page.kinds)


def _start(message_id: str, goes_on: bool) -> bytes:
    return chunk("start", messageId=message_id) + chunk("start-step")


def _again(message_id: str, goes_on: bool) -> bytes:
    """For who has some of the step."""
    return _RESET


def _anew(message_id: str, goes_on: bool) -> bytes:
    """For who may have some of the message, and begins it again. If the message goes on, its last step is another's."""
    return chunk("start", messageId=message_id) + (b"" if goes_on else _RESET) + chunk("start-step")


def _retold(reset: Reset) -> bytes:
    state, said = Telling(""), []
    for part in reset.parts:
        for event in events_of(part):
            state, chunks_of = told(state, event)
            said.append(chunks_of)
    return b"".join(said)


AI_SDK: Final[Wire] = _AiSdk("ai-sdk", opening=_start)
AI_SDK_AGAIN: Final[Wire] = _AiSdk("ai-sdk-again", opening=_again)
AI_SDK_ANEW: Final[Wire] = _AiSdk("ai-sdk-anew", opening=_anew)
AI_SDK_6: Final[Wire] = _AiSdk("ai-sdk-6", opening=_start, can_reset=False)
