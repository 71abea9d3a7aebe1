"""A run of contiguous events, framed once for each wire however many readers follow."""

from collections.abc import Mapping, Sequence

from services.edge.wires.wire import Wire, WireState
from shared.log.events import LogEntry
from shared.log.page import DeltaPage
from shared.log.position import EventId, Position
from shared.log.slicing import after, is_inside_character

__all__ = ("Batch",)

# Python objects around one batch and around one event, and copies of an event's value: measured with tracemalloc.
_BATCH_BYTES, _EVENT_BYTES, _COPIES = 400, 330, 3
# The same of a page, which is framed again only for whoever is late: one event of 23 bytes takes 780, framed 1,070.
_PAGE_BYTES, _PAGED_BYTES, _PAGED_COPIES = 750, 150, 2


class Batch:
    """Events `entries`, from offset `start` to offset `end`; `nonces` names the attempts for event ids."""

    __slots__ = ("_frames", "_nonces", "end", "entries", "events", "position", "size_bytes", "start")

    def __init__(self, entries: Sequence[LogEntry], nonces: Mapping[int, str]) -> None:
        self.entries = entries
        self.events = len(entries)
        self.start = entries[0].start
        self.position = entries[-1].position
        self.end = self.position.offset
        # About what the batch holds in memory once it has been framed.
        self.size_bytes = _BATCH_BYTES + sum([_EVENT_BYTES + _COPIES * len(entry.event.value) for entry in entries])
        self._nonces = nonces
        self._frames: dict[str, bytes] | None = None

    @classmethod
    def of_page(cls, page: DeltaPage, start: int, end: Position, nonces: Mapping[int, str]) -> "Batch":
        """The same of a page that goes from `start` to `end` in one attempt, without a look at its entries."""
        batch = cls.__new__(cls)
        batch.entries = page
        batch.events = len(page.ids)
        batch.start = start
        batch.position = end
        batch.end = end.offset
        batch.size_bytes = _PAGE_BYTES + _PAGED_BYTES * batch.events + _PAGED_COPIES * (batch.end - start)
        batch._nonces = nonces
        batch._frames = None
        return batch

    def __repr__(self) -> str:
        return f"<Batch {self.start}..{self.end} events={len(self.entries)}>"

    @property
    def cursor(self) -> EventId:
        """The place of a reader after this batch."""
        return EventId(self.position, self._nonces[self.position.attempt])

    @property
    def is_last(self) -> bool:
        return not isinstance(self.entries, DeltaPage) and self.entries[-1].event.is_terminal

    def news(self, wire: Wire, state: WireState) -> bytes:
        """The frames, for those who get them now: those of a page are made anew, and not kept."""
        entries = self.entries
        if isinstance(entries, DeltaPage):
            return wire.deltas(entries, self._nonces[self.position.attempt].encode(), state)
        return self.frames(wire, state)

    def first_half(self) -> "Batch":
        """The earlier events of a batch of several."""
        return Batch(list(self.entries)[: self.events // 2], self._nonces)

    def frames(self, wire: Wire, state: WireState) -> bytes:
        """The frames after what made `state`, for all who come by later: made once for each wire."""
        if self._frames is None:
            self._frames = {}
        framed = self._frames.get(wire.name)
        if framed is None:
            framed = self._frames[wire.name] = self._framed(wire, state)
        return framed

    def after(self, offset: int) -> "Batch | None":
        """Return the part of this batch after `offset`; a cursor inside an event gets the exact rest of it."""
        if offset <= self.start:
            return self
        rest = [part for entry in self.entries if (part := after(entry, offset))]
        return Batch(rest, self._nonces) if rest else None

    def is_inside_character(self, offset: int) -> bool:
        """Return whether no event can ever have ended at `offset`, which is at or after the start."""
        if offset <= self.start:
            return False
        return any(is_inside_character(entry, offset) for entry in self.entries)

    def until(self, offset: int) -> "Batch | None":
        """The events of this batch up to an offset, if one of them ends there."""
        if offset == self.end:
            return self
        entries = [entry for entry in self.entries if entry.position.offset <= offset]
        return Batch(entries, self._nonces) if entries and entries[-1].position.offset == offset else None

    def _framed(self, wire: Wire, state: WireState) -> bytes:
        if state is None:
            return b"".join([self._frame(wire, entry, None) for entry in self.entries])
        frames = []
        for entry in self.entries:
            frames.append(self._frame(wire, entry, state))
            state = wire.after(state, (entry,))
        return b"".join(frames)

    def _frame(self, wire: Wire, entry: LogEntry, state: WireState) -> bytes:
        attempt, offset = entry.position
        # As `str(EventId(…))`, without the two tuples in between: this is done for every event there is.
        return wire.frame(f"{attempt}-{offset}.{self._nonces[attempt]}", entry, state)
