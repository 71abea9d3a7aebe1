"""The keys of one stream, held in memory the way Redis holds them."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from shared.events import Event, LogEntry
from shared.position import Position
from shared.redis_replies import meta_reply
from shared.store import Meta, Tombstone

__all__ = ("MemoryStream", "Version")

Value = str | int | bytes


@dataclass(slots=True)
class MemoryStream:
    """`meta` is empty once the stream has expired or was deleted; names in the indexes and the tombstone outlive it.

    `lease_ms` and `touched_ms` are the scores in the leases and in the listing, None while it is not in them.
    """

    id: str
    meta: dict[bytes, bytes] = field(default_factory=dict, repr=False)
    log: list[LogEntry] = field(default_factory=list, repr=False)
    request: bytes | None = field(default=None, repr=False)
    tombstone: Tombstone | None = None
    lease_ms: int | None = None
    touched_ms: int | None = None
    expires_ms: int = 0
    forgotten_ms: int = 0

    @property
    def exists(self) -> bool:
        return bool(self.meta)

    @property
    def position(self) -> Position:
        return Position(self.number("attempt"), self.number("tail"))

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

    def has_entry(self, position: Position) -> bool:
        start = bisect_right(self.log, position, key=lambda entry: entry.position)
        return start > 0 and self.log[start - 1].position == position

    def view(self) -> Meta | None:
        return meta_reply(self.id, self.meta)

    def vanish(self) -> None:
        """All keys but the tombstone go, in one step."""
        self.meta, self.log, self.request = {}, [], None

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
