"""Messages of a WebSocket: one JSON object each, with the stream that it is about.

A message is framed here, because a server's frames are not masked: the bytes of one event are the same on every socket.
"""

from collections.abc import Iterator
from functools import partial
from struct import pack
from typing import Final

from services.edge.wires.native import told
from services.edge.wires.notices import Gone, Heartbeat, Notice, Start
from services.edge.wires.wire import Stateless, Wire, WireState
from shared.log.events import LogEntry
from shared.log.page import DeltaPage
from shared.log.position import Position
from shared.log.slicing import after, is_inside_character, until

__all__ = ("WEBSOCKET", "WebSocketWire", "text_frame")

# Clients close a connection that brings a message of more than 1 MiB, and some half of that. JSON can be six times as
# long as its text.
_PIECE_BYTES: Final = 64 * 1024
_TEXT: Final = 0x81
_SHORT, _MEDIUM = 126, 65_536


class WebSocketWire(Stateless):
    """The events of one stream as messages. All of one stream are equal, whoever made them, and share their bytes."""

    name = "websocket"
    media_type = "application/json"
    accepts: tuple[str, ...] = ()
    example = '{"type":"text","delta":"Hello","stream":"0b5c…","event_id":"1-5.9f2c01ab"}'
    final = frozenset[type[Notice]]({Gone})
    retires = True

    def __init__(self, stream_id: str = "") -> None:
        self._stream = b',"stream":"%b"' % stream_id.encode()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, WebSocketWire)

    def __hash__(self) -> int:
        return hash(self.name)

    def opening(self, retry_ms: int) -> bytes:
        return b""

    def frame(self, event_id: str, entry: LogEntry, state: WireState) -> bytes:
        """One message; a long event is several events, each with its own id, as it might have been written."""
        if len(entry.event.value) <= _PIECE_BYTES:
            return text_frame(self._message(entry.event.data(), event_id))
        nonce = event_id.partition(".")[2]
        return b"".join(
            text_frame(self._message(piece.event.data(), f"{piece.position}.{nonce}")) for piece in _pieces(entry)
        )

    def deltas(self, page: DeltaPage, nonce: bytes, state: WireState) -> bytes:
        return page.formatted(partial(_delta, self._stream), nonce)

    def notice(self, notice: Notice, state: WireState) -> bytes:
        event_id, data = told(notice)
        if isinstance(notice, Heartbeat | Start):
            return text_frame(data)  # the one is about no stream, and the other names it
        return text_frame(self._message(data, event_id))

    def _message(self, data: bytes, event_id: str | None) -> bytes:
        cursor = b"" if event_id is None else b',"event_id":"%b"' % event_id.encode()
        return b"%b%b%b}" % (data[:-1], self._stream, cursor)


def text_frame(message: bytes) -> bytes:
    """Return one unmasked, final text frame (RFC 6455, section 5.2)."""
    size = len(message)
    if size < _SHORT:
        return pack("!BB", _TEXT, size) + message
    if size < _MEDIUM:
        return pack("!BBH", _TEXT, 126, size) + message
    return pack("!BBQ", _TEXT, 127, size) + message


def _delta(stream: bytes, entry_id: bytes, nonce: bytes, kind: bytes, line: bytes) -> bytes:
    return text_frame(b'{"type":"%b","delta":%b%b,"event_id":"%b.%b"}' % (kind, line, stream, entry_id, nonce))


def _pieces(entry: LogEntry) -> Iterator[LogEntry]:
    """The entry in pieces of a bounded size, where that can be cut; what is left keeps its own id."""
    rest: LogEntry | None = entry
    while rest is not None and rest.event.size > _PIECE_BYTES:
        piece = _first(rest)
        if piece is None:
            break
        yield piece
        rest = after(rest, piece.position.offset)
    if rest is not None:
        yield rest


def _first(entry: LogEntry) -> LogEntry | None:
    """The first piece of an entry, cut at the end of a character."""
    for offset in range(entry.start + _PIECE_BYTES, entry.start + _PIECE_BYTES - 4, -1):
        if not is_inside_character(entry, offset):
            return until(entry, Position(entry.position.attempt, offset))
    return None


WEBSOCKET: Final[Wire] = WebSocketWire()
