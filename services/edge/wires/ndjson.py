"""One JSON object a line."""

from typing import Final

from services.edge.wires.native import told
from services.edge.wires.notices import Gone, Notice
from services.edge.wires.wire import Stateless, Wire, WireState
from shared.log.events import LogEntry
from shared.log.page import DeltaPage

__all__ = ("NDJSON",)


class _Ndjson(Stateless):
    """One JSON object a line, the id inside it as `event_id`: a tool call has an `id` of its own."""

    name = "ndjson"
    media_type = "application/x-ndjson; charset=utf-8"
    accepts: tuple[str, ...] = ("application/x-ndjson", "application/jsonl")
    example = '{"type":"text","delta":"Hello","event_id":"1-5.9f2c01ab"}\n'
    final = frozenset[type[Notice]]({Gone})
    retires = True

    def opening(self, retry_ms: int) -> bytes:
        return b""

    def frame(self, event_id: str, entry: LogEntry, state: WireState) -> bytes:
        return _line(event_id, entry.event.data())

    def deltas(self, page: DeltaPage, nonce: bytes, state: WireState) -> bytes:
        return page.formatted(_ndjson_delta, nonce)

    def notice(self, notice: Notice, state: WireState) -> bytes:
        event_id, data = told(notice)
        return data + b"\n" if event_id is None else _line(event_id, data)


def _line(event_id: str, data: bytes) -> bytes:
    return b'%b,"event_id":"%b"}\n' % (data[:-1], event_id.encode())


def _ndjson_delta(entry_id: bytes, nonce: bytes, kind: bytes, line: bytes) -> bytes:
    return b'{"type":"%b","delta":%b,"event_id":"%b.%b"}\n' % (kind, line, entry_id, nonce)


NDJSON: Final[Wire] = _Ndjson()
