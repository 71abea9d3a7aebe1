"""Server-sent events.

Three rules, because of careless clients: `data:` stands before `id:`, as some move their cursor when they read the id
and not when the event is whole; a heartbeat is a line and no block, and `retry:` belongs to the block of the first
event, as some tell their application of a block without data.
"""

from typing import Final

from services.edge.wires.native import told
from services.edge.wires.notices import Gone, Heartbeat, Notice, Reconnect
from services.edge.wires.wire import Stateless, Wire, WireState
from shared.log.events import LogEntry
from shared.log.page import DeltaPage

__all__ = ("SSE",)


class _Sse(Stateless):
    """Server-sent events without `event:`, so that plain `EventSource.onmessage` sees everything."""

    name = "sse"
    media_type = "text/event-stream; charset=utf-8"
    accepts: tuple[str, ...] = ("text/event-stream",)
    example = 'data: {"type":"text","delta":"Hello"}\nid: 1-5.9f2c01ab\n\n'
    final = frozenset[type[Notice]]({Gone})
    retires = True

    def opening(self, retry_ms: int) -> bytes:
        return b"retry: %d\n" % retry_ms

    def frame(self, event_id: str, entry: LogEntry, state: WireState) -> bytes:
        return b"data: %b\nid: %b\n\n" % (entry.event.data(), event_id.encode())

    def deltas(self, page: DeltaPage, nonce: bytes, state: WireState) -> bytes:
        return page.formatted(_sse_delta, nonce)

    def notice(self, notice: Notice, state: WireState) -> bytes:
        if isinstance(notice, Heartbeat):
            return b": hb\n"
        event_id, data = told(notice)
        before = self.opening(notice.retry_ms) if isinstance(notice, Reconnect) else b""
        after = b"" if event_id is None else b"id: %b\n" % event_id.encode()
        return b"%bdata: %b\n%b\n" % (before, data, after)


def _sse_delta(entry_id: bytes, nonce: bytes, kind: bytes, line: bytes) -> bytes:
    return b'data: {"type":"%b","delta":%b}\nid: %b.%b\n\n' % (kind, line, entry_id, nonce)


SSE: Final[Wire] = _Sse()
