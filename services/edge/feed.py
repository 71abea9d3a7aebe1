"""The recent end of one stream, shared by all its readers on this edge.

Readers are cursors over it, not queues behind it. One that is up to date and offers its transport is *live*: news
is written to its socket in the same call that takes it in. All others come by in their own time, and whoever has
fallen behind what is kept here reads Redis.
"""

from collections import deque
from collections.abc import Sequence
from typing import Protocol

from services.edge.batch import Batch
from services.edge.wire import Wire
from shared.events import LogEntry
from shared.lineage import Lineage
from shared.position import EventId, Position

__all__ = ("Diverged", "Feed", "Follower")


class Diverged(Exception):
    """The entries do not continue what the feed has seen: the log was trimmed, lost or replaced meanwhile."""


class Follower(Protocol):
    """What a feed knows of a reader."""

    wire: Wire
    cursor: EventId

    def write(self, chunked: bytes) -> None:
        """Hand a ready chunk to the transport now. Only called while the follower is live."""
        ...

    def wake(self) -> None:
        """There is news, or the feed has ended, or the follower has to judge its cursor again."""
        ...


class Feed:
    """Batches from offset `base` to the tail. `cursor` is the tail as an event id."""

    def __init__(self, stream_id: str, lineage: Lineage, *, max_bytes: int) -> None:
        self.id = stream_id
        self.readers: set[Follower] = set()
        self.live: set[Follower] = set()
        self.quiet_since = 0.0
        self.is_over = False
        self.is_gone = False
        self._max_bytes = max_bytes
        self._bytes = 0
        self._batches: deque[Batch] = deque()
        self._adopt(lineage)

    def __repr__(self) -> str:
        return f"<Feed {self.id[:8]}… at {self.tail} readers={len(self.readers)} live={len(self.live)}>"

    @property
    def cursor(self) -> EventId:
        return EventId(self.tail, self.nonces.get(self.tail.attempt))

    def covers(self, cursor: EventId) -> bool:
        """Whether the feed alone can serve a reader at `cursor`, whose lineage has been judged."""
        attempt, offset = cursor.position
        return attempt <= self.tail.attempt and self.base <= offset <= self.tail.offset

    def after(self, offset: int) -> Batch | None:
        """The next batch for a reader at `offset`, cut to what it lacks; None if it is up to date."""
        for batch in self._batches:
            if batch.end > offset:
                return batch.after(offset)
        return None

    def extend(self, entries: Sequence[LogEntry]) -> None:
        """Take in what the tail has read, and write it to the live readers. Raises `Diverged`."""
        run: list[LogEntry] = []
        offset = self.tail.offset
        for entry in entries:
            if entry.position <= self.tail:
                continue  # read twice: by the hot and by the cold connection
            if entry.event.kind == "fence":
                self._publish(run)
                run = []
                self._take_fence(entry)
                offset = self.tail.offset
                continue
            if entry.start != offset or entry.position.attempt not in self.nonces:
                raise Diverged
            offset = entry.position.offset
            run.append(entry)
        self._publish(run)

    def rebase(self, lineage: Lineage) -> None:
        """Start again from what Redis says; every reader judges its cursor anew."""
        self._evict_live()
        self._adopt(lineage)
        for reader in self.readers:
            reader.wake()

    def vanish(self) -> None:
        """The stream is gone from the store."""
        self.is_gone = True
        self._evict_live()
        for reader in self.readers:
            reader.wake()

    def join(self, reader: Follower) -> None:
        """Make an up-to-date reader live."""
        self.live.add(reader)

    def leave(self, reader: Follower) -> None:
        """Stop writing to a live reader; its cursor becomes what it has been written."""
        if reader in self.live:
            self.live.discard(reader)
            reader.cursor = self.cursor

    def _adopt(self, lineage: Lineage) -> None:
        self.nonces = lineage.nonces
        self.tail: Position = lineage.position
        self.base = self.tail.offset
        self._batches.clear()
        self._bytes = 0

    def _publish(self, run: Sequence[LogEntry]) -> None:
        if not run:
            return
        batch = Batch(run, self.nonces)
        # Before the writes: a reader that stalls in the middle of them leaves with this batch behind it.
        self.tail = run[-1].position
        self._keep(batch)
        for reader in self.live.copy() if self.live else ():
            reader.write(batch.chunked(reader.wire))
        if batch.is_last:
            self.is_over = True
            self._evict_live()
        for reader in self.readers:
            if reader not in self.live:
                reader.wake()

    def _keep(self, batch: Batch) -> None:
        self._batches.append(batch)
        self._bytes += batch.size_bytes
        while self._bytes > self._max_bytes and len(self._batches) > 1:
            oldest = self._batches.popleft()
            self._bytes -= oldest.size_bytes
            self.base = oldest.end

    def _take_fence(self, entry: LogEntry) -> None:
        attempt, keep = entry.position
        if keep > self.tail.offset:
            raise Diverged
        if keep < self.tail.offset:
            self._evict_live()
            self._batches.clear()
            self._bytes = 0
            self.base = keep
        self.nonces = self.nonces | {attempt: entry.event.fields()["nonce"]}
        self.tail = entry.position
        for reader in self.readers:
            if reader not in self.live:
                reader.wake()

    def _evict_live(self) -> None:
        for reader in list(self.live):
            self.leave(reader)
            reader.wake()
