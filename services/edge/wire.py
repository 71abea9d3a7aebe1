"""How events look on a connection. A wire only frames; it never decides what is sent."""

from typing import Final, Protocol

from shared.delta_page import DeltaPage

__all__ = ("NDJSON", "SSE", "Wire", "chunk")


def chunk(payload: bytes) -> bytes:
    """HTTP/1.1 chunked framing, so that a frame can go to many sockets as it is."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


class Wire(Protocol):
    """A framing of events. `data` is one line of JSON that begins with its type."""

    name: str
    media_type: str
    heartbeat: bytes

    def frame(self, event_id: str | None, data: bytes) -> bytes:
        """One event. Synthesized events may have no id; then the reader's cursor stays where it is."""
        ...

    def deltas(self, page: DeltaPage, nonce: bytes) -> bytes:
        """The frames of a page, as `frame` makes them of its entries one by one, for a third of the time."""
        ...

    def opening(self, retry_ms: int) -> bytes:
        """What a connection begins with, before any event."""
        ...


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


class _Ndjson:
    """One JSON object a line, the id inside it as `event_id`: a tool call has an `id` of its own."""

    name = "ndjson"
    media_type = "application/x-ndjson; charset=utf-8"
    heartbeat = b'{"type":"heartbeat"}\n'

    def frame(self, event_id: str | None, data: bytes) -> bytes:
        if event_id is None:
            return data + b"\n"
        return b'%b,"event_id":"%b"}\n' % (data[:-1], event_id.encode())

    def deltas(self, page: DeltaPage, nonce: bytes) -> bytes:
        return page.formatted(_ndjson_delta, nonce)

    def opening(self, retry_ms: int) -> bytes:
        return b""


def _sse_delta(entry_id: bytes, nonce: bytes, kind: bytes, line: bytes) -> bytes:
    return b'id: %b.%b\ndata: {"type":"%b","delta":%b}\n\n' % (entry_id, nonce, kind, line)


def _ndjson_delta(entry_id: bytes, nonce: bytes, kind: bytes, line: bytes) -> bytes:
    return b'{"type":"%b","delta":%b,"event_id":"%b.%b"}\n' % (kind, line, entry_id, nonce)


SSE: Final[Wire] = _Sse()
NDJSON: Final[Wire] = _Ndjson()
