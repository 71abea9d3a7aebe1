"""Server-sent events."""

from typing import Final

from services.edge.wires.wire import Wire
from shared.log.page import DeltaPage

__all__ = ("SSE",)


class _Sse:
    """Server-sent events without `event:`, so that plain `EventSource.onmessage` sees everything."""

    name = "sse"
    media_type = "text/event-stream; charset=utf-8"
    heartbeat = b": hb\n\n"

    def frame(self, event_id: str | None, data: bytes) -> bytes:
        if event_id is None:
            return b"data: %b\n\n" % data
        return b"id: %b\ndata: %b\n\n" % (event_id.encode(), data)

    def deltas(self, page: DeltaPage, nonce: bytes) -> bytes:
        return page.formatted(_sse_delta, nonce)

    def opening(self, retry_ms: int) -> bytes:
        return b"retry: %d\n\n" % retry_ms


def _sse_delta(entry_id: bytes, nonce: bytes, kind: bytes, line: bytes) -> bytes:
    return b'id: %b.%b\ndata: {"type":"%b","delta":%b}\n\n' % (entry_id, nonce, kind, line)


SSE: Final[Wire] = _Sse()
