"""Deltas of one stream as Redis gave them.

Nearly all that an edge reads is one delta that continues what it has. To make an entry, an event and a position of each
costs more than the rest of its way to a reader; so a page does that only when somebody looks inside.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import repeat
from typing import Any, Final, overload

from shared.log.events import DELTA_KINDS, LogEntry, json_line, stored
from shared.log.position import Position

__all__ = ("DeltaPage",)

# Redis gives a new string with every entry; these are shared.
_KINDS: Final = {kind.encode(): kind.encode() for kind in DELTA_KINDS}


class DeltaPage(Sequence[LogEntry]):
    """Like a list of its entries. `ids`, `kinds` and `values` are theirs, as bytes; there is at least one."""

    __slots__ = ("ids", "kinds", "values")

    def __init__(self, ids: tuple[bytes, ...], kinds: tuple[bytes, ...], values: tuple[bytes, ...]) -> None:
        self.ids = ids
        self.kinds = kinds
        self.values = values

    @classmethod
    def of(cls, raw: Sequence[tuple[bytes, Any]]) -> "DeltaPage | None":
        """The page of one stream's entries in the reply of XREAD; None if any of them is no delta."""
        if len(raw) == 1:
            entry_id, fields = raw[0]
            kind = _KINDS.get(fields[0])
            return None if kind is None else cls((entry_id,), (kind,), (fields[1],))
        kinds = [_KINDS[fields[0]] for _, fields in raw if fields[0] in _KINDS]
        if not raw or len(kinds) < len(raw):
            return None
        return cls(tuple([each[0] for each in raw]), tuple(kinds), tuple([each[1][1] for each in raw]))

    def __repr__(self) -> str:
        return f"<DeltaPage {self.ids[0].decode()}..{self.ids[-1].decode()} events={len(self)}>"

    def __len__(self) -> int:
        return len(self.ids)

    @overload
    def __getitem__(self, index: int) -> LogEntry: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[LogEntry]: ...
    def __getitem__(self, index: int | slice) -> LogEntry | Sequence[LogEntry]:
        return list(self)[index]

    def __iter__(self) -> Iterator[LogEntry]:
        for entry_id, kind, value in zip(self.ids, self.kinds, self.values, strict=True):
            yield LogEntry(Position.parse(entry_id), stored(kind.decode(), value))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    __hash__ = None  # type: ignore[assignment]

    def end_after(self, position: Position) -> Position | None:
        """Return the end of the page if it continues `position` without a hole in the same attempt, else None."""
        (attempt, offset), at = position, 0
        ids, values = self.ids, self.values
        while at < len(ids):  # nearly always once: a `for` over both would have to build two iterators
            offset += len(values[at])
            if ids[at] != b"%d-%d" % (attempt, offset):
                return None
            at += 1
        return tuple.__new__(Position, (attempt, offset))  # as `Position(…)`, for half of the time

    def formatted(self, frame: Callable[[bytes, bytes, bytes, bytes], bytes], nonce: bytes) -> bytes:
        """Return what `frame` makes of each entry's id, the nonce, its kind and its text in JSON, joined."""
        if len(self.ids) == 1:
            return frame(self.ids[0], nonce, self.kinds[0], json_line(self.values[0].decode()))
        lines = [json_line(value.decode()) for value in self.values]
        return b"".join(map(frame, self.ids, repeat(nonce), self.kinds, lines))
