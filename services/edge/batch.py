"""A run of contiguous events, framed once for each wire however many readers follow."""

from collections.abc import Mapping, Sequence

from services.edge.wire import Wire
from shared.events import LogEntry
from shared.position import EventId
from shared.slicing import after

__all__ = ("Batch",)

# Python objects around one event and around one batch, and copies of an event's value: measured with tracemalloc.
_BATCH_BYTES, _EVENT_BYTES, _COPIES = 400, 330, 3


class Batch:
    """Events `entries`, from offset `start` to offset `end`; `nonces` names the attempts for event ids."""

    __slots__ = ("_frames", "_nonces", "end", "entries", "size_bytes", "start")

    def __init__(self, entries: Sequence[LogEntry], nonces: Mapping[int, str]) -> None:
        self.entries = entries
        self.start = entries[0].start
        self.end = entries[-1].position.offset
        # About what the batch holds in memory once it has been framed.
        self.size_bytes = _BATCH_BYTES + sum([_EVENT_BYTES + _COPIES * len(entry.event.value) for entry in entries])
        self._nonces = nonces
        self._frames: dict[str, bytes] = {}

    def __repr__(self) -> str:
        return f"<Batch {self.start}..{self.end} events={len(self.entries)}>"

    @property
    def cursor(self) -> EventId:
        """Where a reader is after this batch."""
        return self._id(self.entries[-1])

    @property
    def is_last(self) -> bool:
        return self.entries[-1].event.is_terminal

    def frames(self, wire: Wire) -> bytes:
        framed = self._frames.get(wire.name)
        if framed is None:
            framed = self._frames[wire.name] = b"".join([self._frame(wire, entry) for entry in self.entries])
        return framed

    def after(self, offset: int) -> "Batch | None":
        """What of this batch a reader at `offset` has yet to see; a cursor inside an event gets its exact rest."""
        if offset <= self.start:
            return self
        rest = [part for entry in self.entries if (part := after(entry, offset))]
        return Batch(rest, self._nonces) if rest else None

    def _frame(self, wire: Wire, entry: LogEntry) -> bytes:
        attempt, offset = entry.position
        # As `str(self._id(entry))`, without the two tuples in between: this is done for every event there is.
        return wire.frame(f"{attempt}-{offset}.{self._nonces[attempt]}", entry.event.data())

    def _id(self, entry: LogEntry) -> EventId:
        return EventId(entry.position, self._nonces[entry.position.attempt])
