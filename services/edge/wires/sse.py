"""Server-sent events."""

from collections.abc import Sequence
from typing import Final

from services.edge.wires.native import told
from services.edge.wires.notices import Gone, Heartbeat, Notice, Reconnect
from services.edge.wires.wire import Wire, WireState
from shared.log.events import LogEntry
from shared.log.page import DeltaPage
from shared.store.state import Meta

__all__ = ("SSE",)


class _Sse:
    """Server-sent events without `event:`, so that plain `EventSource.onmessage` sees everything."""

    name = "sse"
    media_type = "text/event-stream; charset=utf-8"
    accepts: tuple[str, ...] = ("text/event-stream",)
    example = 'id: 1-5.9f2c01ab\ndata: {"type":"text","delta":"Hello"}\n\n'
    final = frozenset[type[Notice]]({Gone})
    has_state = False

    def begin(self, meta: Meta) -> WireState:
        return None

    def after(self, state: WireState, entries: Sequence[LogEntry]) -> WireState:
        return None

    def opening(self, retry_ms: int) -> bytes:
        return b"retry: %d\n\n" % retry_ms

    def frame(self, event_id: str, entry: LogEntry, state: WireState) -> bytes:
        return b"id: %b\ndata: %b\n\n" % (event_id.encode(), entry.event.data())

    def deltas(self, page: DeltaPage, nonce: bytes, state: WireState) -> bytes:
        return page.formatted(_sse_delta, nonce)

    def notice(self, notice: Notice, state: WireState) -> bytes:
        if isinstance(notice, Heartbeat):
            return b": hb\n\n"
        event_id, data = told(notice)
        before = self.opening(notice.retry_ms) if isinstance(notice, Reconnect) else b""
        if event_id is not None:
            before = b"id: %b\n" % event_id.encode()
        return b"%bdata: %b\n\n" % (before, data)

    def closing(self, state: WireState) -> bytes:
        return b""


def _sse_delta(entry_id: bytes, nonce: bytes, kind: bytes, line: bytes) -> bytes:
    return b'id: %b.%b\ndata: {"type":"%b","delta":%b}\n\n' % (entry_id, nonce, kind, line)


SSE: Final[Wire] = _Sse()
