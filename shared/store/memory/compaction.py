"""`compact.lua`, line by line, on a stream in memory."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Self

from shared.log.events import DELTA_KINDS, LogEntry
from shared.log.position import Position
from shared.store.accounting import room_bytes, share_bytes
from shared.store.calls import Compact
from shared.store.memory.stream import Block, MemoryStream, Part
from shared.store.replies import Closed, Compacted, CompactReply, Fenced, Gone
from shared.store.state import is_over

__all__ = ("ENTRY_OVERHEAD", "compact", "share_of")

ENTRY_OVERHEAD: Final = 16
_BLOCK_OVERHEAD, _PART_OVERHEAD = 64, 16
# A folded stream is taken away by the sweeper; if there is none, this much later by itself.
_BACKSTOP_MS = 60_000
_FOLD_MOST, _PARTS_MOST = 4000, 1000

_CALL = re.compile(rb'\{"index":([0-9]+),.*"arguments_delta":".*"\}', re.DOTALL)
_END = b'"}'
_PIECE = re.compile(rb'\{"index":([0-9]+),"arguments_delta":"(.*)"\}', re.DOTALL)


@dataclass(slots=True)
class _Run:
    """A part that may still grow. `index` is that of a tool call, whose pieces are kept without their end."""

    kind: str
    index: bytes | None
    pieces: list[bytes]

    @classmethod
    def of(cls, kind: str, value: bytes) -> Self:
        call = _CALL.fullmatch(value) if kind == "tool_call" else None
        return cls(kind, call[1], [value.removesuffix(_END)]) if call else cls(kind, None, [value])

    def piece(self, kind: str, value: bytes) -> bytes | None:
        """Return what `value` adds to this part, None if it belongs to another."""
        if kind != self.kind:
            return None
        if kind in DELTA_KINDS:
            return value
        more = _PIECE.fullmatch(value) if self.index is not None else None
        return more[2] if more and more[1] == self.index else None

    def whole(self) -> Part:
        return self.kind, b"".join(self.pieces) + (b"" if self.index is None else _END)


@dataclass(slots=True)
class _Fold:
    """A block in the making."""

    runs: list[_Run] = field(default_factory=list)
    size_bytes: int = _BLOCK_OVERHEAD

    def add(self, kind: str, value: bytes) -> None:
        more = self.runs[-1].piece(kind, value) if self.runs else None
        if more is not None:
            self.runs[-1].pieces.append(more)
            self.size_bytes += len(more)
            return
        self.runs.append(_Run.of(kind, value))
        self.size_bytes += _PART_OVERHEAD + len(value)

    def done(self) -> tuple[Part, ...]:
        return tuple(run.whole() for run in self.runs)


@dataclass(slots=True)
class _Gathered:
    fold: _Fold = field(default_factory=_Fold)
    covered: int = 0
    end: Position | None = None
    freed: int = 0
    more: bool = False


def share_of(stream: MemoryStream) -> int:
    """Return what the sums count for the stream besides its bytes."""
    return share_bytes(folded=stream.number("folded"), is_fully_folded=bool(stream.text("fully_folded")))


def compact(stream: MemoryStream, call: Compact, counts: Counter[str]) -> CompactReply:
    """The answer of one compaction; `counts` takes what the sums count."""
    refused = _refused(stream, call)
    if refused is not None:
        return refused
    if stream.text("fully_folded"):
        return _compacted(stream, more=False)
    over = is_over(stream.text("status"))
    gathered = _gather(stream, stream.number("tail") if over else stream.number("safe"), call.block_bytes)
    stream.log = stream.log[gathered.covered :]
    if gathered.end is not None:
        _write_block(stream, gathered, gathered.end, is_last=over and not gathered.more, most_bytes=call.block_bytes)
        counts["compactions"] += 1
    counts["trimmed_units"] += _trim(stream, stream.number("bytes") - _room_bytes(call))
    if over and not gathered.more:
        stream.log = stream.log[-1:]
        stream.put(fully_folded=1)
        stream.chore_ms = stream.number("expires_ms")
        stream.expires_ms = stream.chore_ms + _BACKSTOP_MS
    stream.put(counted_bytes=stream.number("bytes"))
    return _compacted(stream, more=gathered.more)


def _refused(stream: MemoryStream, call: Compact) -> CompactReply | None:
    if not stream.exists:
        stream.leave_indexes()
        return Gone()
    if stream.is_headless:
        return Gone()
    over = is_over(stream.text("status"))
    if not over and (stream.text("nonce") != call.nonce or not call.nonce):
        return Fenced(stream.number("attempt"))
    if over and call.nonce:
        return Closed(stream.text("status"), stream.number("tail"))
    return None


def _compacted(stream: MemoryStream, *, more: bool) -> Compacted:
    held = stream.number("bytes")
    return Compacted(stream.number("folded"), stream.number("trimmed"), held, held - stream.number("base_bytes"), more)


def _gather(stream: MemoryStream, bound: int, most_bytes: int) -> _Gathered:
    """The entries that go into the new block: as far as `bound` allows, but never the newest."""
    found = _Gathered()
    for number, entry in enumerate(_foldable(stream, bound)):
        if entry.event.kind != "fence":
            is_full = found.fold.size_bytes + len(entry.event.value) > most_bytes and found.end is not None
            if is_full or len(found.fold.runs) >= _PARTS_MOST or number == _FOLD_MOST:
                found.more = True
                break
            found.fold.add(entry.event.kind, entry.event.value)
            found.end = entry.position
            found.freed += ENTRY_OVERHEAD + len(entry.event.value)
        found.covered = number + 1
    return found


def _foldable(stream: MemoryStream, bound: int) -> Sequence[LogEntry]:
    limit = Position(stream.number("attempt"), bound)
    return [entry for entry in stream.log[:-1] if entry.position <= limit]


def _write_block(stream: MemoryStream, gathered: _Gathered, end: Position, *, is_last: bool, most_bytes: int) -> None:
    size, parts, joined = gathered.fold.size_bytes, len(gathered.fold.runs), 0
    start = stream.number("folded")
    older: list[Block] = []
    for block in reversed(stream.blocks):
        parts += len(block.parts)
        held = _size_of(block.parts)
        if size + held > most_bytes or (held > 2 * size and not is_last) or parts > _PARTS_MOST:
            break
        older.insert(0, block)
        size, joined, start = size + held, joined + _bytes_of(block.parts), block.start
    whole = _Fold()
    for kind, value in [part for block in older for part in block.parts] + list(gathered.fold.done()):
        whole.add(kind, value)
    new = Block(start, end, whole.done())
    grown = _bytes_of(new.parts) - joined
    stream.blocks = [*stream.blocks[: len(stream.blocks) - len(older)], new]
    stream.add("bytes", grown - gathered.freed)
    stream.add("base_bytes", grown)
    stream.put(folded=end.offset)


def _trim(stream: MemoryStream, over_bytes: int) -> int:
    """Oldest blocks first. Answers how many units are gone."""
    freed, trimmed = 0, stream.number("trimmed")
    gone = trimmed
    while freed < over_bytes and stream.blocks:
        oldest, *stream.blocks = stream.blocks
        freed, gone = freed + _bytes_of(oldest.parts), oldest.end.offset
    stream.add("bytes", -freed)
    stream.add("base_bytes", -freed)
    stream.put(trimmed=gone)
    return gone - trimmed


def _room_bytes(call: Compact) -> int:
    return call.max_bytes - min(4 * call.block_bytes, call.max_bytes // 10)


def _size_of(parts: Sequence[Part]) -> int:
    return _BLOCK_OVERHEAD + len(parts) * _PART_OVERHEAD + sum(len(value) for _, value in parts)


def _bytes_of(parts: Sequence[Part]) -> int:
    return room_bytes(_size_of(parts))
