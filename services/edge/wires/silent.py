"""The wire of those who wait for a whole answer: they are told nothing but that it is over."""

from typing import Final

from services.edge.wires.notices import Gone, Notice
from services.edge.wires.wire import Stateless, Wire, WireState
from shared.log.events import LogEntry
from shared.log.page import DeltaPage

__all__ = ("SILENT",)


class _Silent(Stateless):
    """No bytes for anything. It is no wire that can be asked for."""

    name = "whole"
    media_type = "application/json"
    accepts: tuple[str, ...] = ()
    example = ""
    final = frozenset[type[Notice]]({Gone})
    retires = False

    def opening(self, retry_ms: int) -> bytes:
        return b""

    def frame(self, event_id: str, entry: LogEntry, state: WireState) -> bytes:
        return b""

    def deltas(self, page: DeltaPage, nonce: bytes, state: WireState) -> bytes:
        return b""

    def notice(self, notice: Notice, state: WireState) -> bytes:
        return b""


SILENT: Final[Wire] = _Silent()
