"""The keys of one stream, held in memory the way Redis holds them."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from shared.log.events import Event, LogEntry
from shared.log.position import Position
from shared.store.accounting import request_room_bytes
from shared.store.meta_hash import block_parts, meta_reply
from shared.store.state import Meta, Tombstone

__all__ = ("Block", "MemoryStream", "Part", "Version")

Value = str | int | bytes
Part = tuple[str, bytes]

# A page ends with the block or the entry that passes this many bytes.
_PAGE_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Block:
    """Merged parts from offset `start` to `end`."""

    start: int
    end: Position
    parts: tuple[Part, ...] = field(repr=False)

    @property
    def bytes(self) -> int:
        return sum(len(value) for _, value in self.parts)


@dataclass(slots=True)
class MemoryStream:
    """`meta` is empty once the stream has expired or was deleted; names in the indexes and the tombstone outlive it.

    `lost` names its keys that Redis would have lost while meta is there: the log, the blocks.

    `lease_ms`, `touched_ms`, `chore_ms` and `listed_ms` are the scores in the indexes, None while it is not in them.
    """

    id: str
    meta: dict[bytes, bytes] = field(default_factory=dict, repr=False)
    log: list[LogEntry] = field(default_factory=list, repr=False)
    blocks: list[Block] = field(default_factory=list, repr=False)
    request: bytes | None = field(default=None, repr=False)
    lost: frozenset[str] = frozenset()
    tombstone: Tombstone | None = None
    lease_ms: int | None = None
    touched_ms: int | None = None
    chore_ms: int | None = None
    listed_ms: int | None = None
    expires_ms: int = 0
    forgotten_ms: int = 0

    @property
    def exists(self) -> bool:
        return bool(self.meta)

    @property
    def is_headless(self) -> bool:
        return bool(self.lost)

    @property
    def position(self) -> Position:
        return Position(self.number("attempt"), self.number("tail"))

    @property
    def blocks_bytes(self) -> int:
        """The bytes of the blocks: everything except the entries, the request and the metadata."""
        return self.number("base_bytes") - self.request_bytes - len(self.meta.get(b"metadata", b""))

    @property
    def request_bytes(self) -> int:
        return request_room_bytes(len(self.request or b""))

    def text(self, name: str) -> str:
        return self.meta.get(name.encode(), b"").decode()

    def number(self, name: str) -> int:
        return int(self.meta.get(name.encode()) or 0)

    def put(self, **fields: Value) -> None:
        for name, value in fields.items():
            self.meta[name.encode()] = value if isinstance(value, bytes) else str(value).encode()

    def add(self, name: str, amount: int) -> None:
        self.put(**{name: self.number(name) + amount})

    def write(self, position: Position, event: Event) -> None:
        """One entry more, its id bigger than every id before it, as Redis has it."""
        if self.log and position <= self.log[-1].position:
            raise ValueError(f"{position} is not after {self.log[-1].position}")
        self.log.append(LogEntry(position, event))

    def after(self, position: Position, limit: int) -> Sequence[LogEntry]:
        start = bisect_right(self.log, position, key=lambda entry: entry.position)
        return self.log[start : start + limit]

    def page(self, position: Position, limit: int) -> Sequence[LogEntry]:
        """Return the entries after a position, blocks first, as `read.lua` does."""
        meta = self.view()
        blocks, size, is_full = [], 0, False
        for block in self.blocks[bisect_right(self.blocks, position, key=lambda block: block.end) :]:
            blocks.append(block)
            size += block.bytes
            is_full = len(blocks) == limit or size >= _PAGE_BYTES
            if is_full:
                break
        if meta is None:
            return []
        folded = [entry for block in blocks for entry in block_parts(block.start, block.parts, meta.lineage)]
        return folded if is_full else [*folded, *_first(self.after(position, limit), _PAGE_BYTES - size)]

    def leave_indexes(self) -> None:
        self.lease_ms = self.touched_ms = self.chore_ms = self.listed_ms = None

    def has_entry(self, position: Position) -> bool:
        start = bisect_right(self.log, position, key=lambda entry: entry.position)
        return start > 0 and self.log[start - 1].position == position

    def view(self) -> Meta | None:
        return meta_reply(self.id, self.meta)

    def vanish(self) -> None:
        """All keys but the tombstone go, in one step."""
        self.meta, self.log, self.blocks, self.request, self.lost = {}, [], [], None, frozenset()

    def lose(self, key: str) -> None:
        """One key goes, and nobody is told. Without its meta nobody sees what else there is."""
        if key == "meta":
            self.vanish()
        elif key == "request":
            self.request = None
        elif key == "stream" and self.log:
            self.log, self.lost = [], self.lost | {key}
        elif key == "blocks" and self.number("folded"):
            self.blocks, self.lost = [], self.lost | {key}

    def expire(self, now_ms: int) -> None:
        """Redis' own clockwork: a key is gone in the millisecond after its expiry."""
        if self.exists and now_ms > self.expires_ms:
            self.vanish()
        if not self.exists and now_ms > self.forgotten_ms:
            self.tombstone = None

    def version(self) -> "Version":
        """The stream as it is now. A log only grows or is replaced, so its length is all that has to be kept of it."""
        return Version(replace(self, meta=dict(self.meta)), len(self.log))


@dataclass(frozen=True, slots=True)
class Version:
    """One past state of a stream."""

    stream: MemoryStream
    length: int

    @property
    def position(self) -> Position:
        return self.stream.position

    def revive(self) -> MemoryStream:
        return replace(self.stream, meta=dict(self.stream.meta), log=self.stream.log[: self.length])


def _first(entries: Sequence[LogEntry], enough: int) -> Sequence[LogEntry]:
    """The first entries, up to the one with which they hold enough bytes."""
    for number, entry in enumerate(entries, 1):
        enough -= len(entry.event.value)
        if enough <= 0:
            return entries[:number]
    return entries
