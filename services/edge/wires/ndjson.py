"""One JSON object a line."""

from typing import Final

from services.edge.wires.wire import Wire
from shared.log.page import DeltaPage

__all__ = ("NDJSON",)


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


def _ndjson_delta(entry_id: bytes, nonce: bytes, kind: bytes, line: bytes) -> bytes:
    return b'{"type":"%b","delta":%b,"event_id":"%b.%b"}\n' % (kind, line, entry_id, nonce)


NDJSON: Final[Wire] = _Ndjson()
