"""The wire of those who wait for a whole answer: they are told nothing but that it is over."""

from collections.abc import Sequence
from typing import Final

from services.edge.wires.notices import Gone, Notice
from services.edge.wires.wire import Wire, WireState
from shared.log.events import LogEntry
from shared.log.page import DeltaPage
from shared.store.state import Meta

__all__ = ("SILENT",)


class _Silent:
    """No bytes for anything. It is no wire that can be asked for."""

    name = "whole"
    media_type = "application/json"
    accepts: tuple[str, ...] = ()
    example = ""
    final = frozenset[type[Notice]]({Gone})
    has_state = False
    headers: tuple[tuple[bytes, bytes], ...] = ()
    retires = False

    def begin(self, meta: Meta) -> WireState:
        return None

    def after(self, state: WireState, entries: Sequence[LogEntry]) -> WireState:
        return None

    def opening(self, retry_ms: int) -> bytes:
        return b""

    def frame(self, event_id: str, entry: LogEntry, state: WireState) -> bytes:
        return b""

    def deltas(self, page: DeltaPage, nonce: bytes, state: WireState) -> bytes:
        return b""

    def notice(self, notice: Notice, state: WireState) -> bytes:
        return b""

    def closing(self, state: WireState) -> bytes:
        return b""


SILENT: Final[Wire] = _Silent()
