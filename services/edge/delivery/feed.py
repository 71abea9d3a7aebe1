"""The recent end of one stream, shared by all its readers on this edge.

Readers are cursors over it, not queues behind it. One that is up to date and offers its transport is *live*: news
is written to its socket in the same call that takes it in. All others come by in their own time, and whoever has
fallen behind what is kept here reads Redis.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Protocol

from services.edge.carriers.carrier import Wrap
from services.edge.delivery.batch import Batch
from services.edge.delivery.live import Channel, LiveReader, LiveReaders, LiveTargets, PendingWrites
from services.edge.wires.wire import Wire, WireState
from shared.log.events import LogEntry
from shared.log.lineage import Fence, Lineage, Resume
from shared.log.page import DeltaPage
from shared.log.position import EventId, Position
from shared.store.state import Meta

__all__ = ("Diverged", "Feed", "Follower")

# The most that one write to a live reader hands over, and so what a reader that stalls in it can hold up.
_BATCH_BYTES = 64 * 1024


class Diverged(Exception):
    """The entries do not continue what the feed has seen: the log was folded, trimmed, lost or replaced meanwhile."""


class Follower(LiveReader, Protocol):
    """A reader, as far as a feed knows it. It is only written to while it is live, which takes a carrier that can.

    `wire_state` is its wire's at its cursor, as far as the reader itself walks; while it is live the feed has both.
    """

    wire: Wire
    wire_state: WireState
    cursor: EventId

    @property
    def channel(self) -> Channel | None:
        """The channel that it shares with the readers of the same bytes; None if it cannot be live."""
        ...

    def wake(self) -> None:
        """There is news, or the feed has ended, or the follower has to judge its cursor again."""
        ...


class Feed:
    """Batches from offset `base` to the tail. `cursor` is the tail as an event id.

    `delivered` is told how many events went to live readers of a wire.
    """

    # Of a thousand feeds none is in the caches when its next event comes: a dictionary each would be two misses more.
    __slots__ = (
        "_batches",
        "_bytes",
        "_delivered",
        "_fences",
        "_lineage",
        "_live",
        "_live_readers",
        "_max_bytes",
        "_pending",
        "_states",
        "_targets",
        "base",
        "checked_at",
        "id",
        "is_gone",
        "is_over",
        "nonces",
        "quiet_since",
        "readers",
        "tail",
        "tenant",
    )

    def __init__(
        self,
        meta: Meta,
        *,
        max_bytes: int,
        delivered: Callable[[Wire, int], None],
        pending: PendingWrites | None = None,
    ) -> None:
        self.id = meta.id
        self.tenant = meta.tenant
        self._pending = pending or PendingWrites()
        self.readers: set[Follower] = set()
        self.quiet_since = 0.0
        self.checked_at = 0.0
        self.is_over = False
        self.is_gone = False
        self._live: dict[Channel, LiveReaders] = {}
        # Of each channel, as they were last, those of one wire in a row. The readers of a thousand feeds are in no
        # cache; of one that stays as it is nothing is looked at but this.
        self._targets: tuple[tuple[Wire, Wrap, LiveTargets], ...] = ()
        # At the tail, of each wire that has one and live readers.
        self._states: dict[Wire, WireState] | None = None
        self._live_readers = 0
        self._delivered = delivered
        self._max_bytes = max_bytes
        self._bytes = 0
        self._batches: deque[Batch] = deque()
        self.base = 0
        self._adopt(meta)

    def __repr__(self) -> str:
        return f"<Feed {self.id[:8]}… at {self.tail} readers={len(self.readers)} live={self._live_readers}>"

    @property
    def cursor(self) -> EventId:
        return EventId(self.tail, self.nonces.get(self.tail.attempt))

    def covers(self, cursor: EventId) -> bool:
        """Return whether the feed alone can serve a reader: it would be let go on, and no older batch is needed."""
        self._lineage.tail = self.tail.offset
        verdict = self._lineage.judge(cursor)
        if not isinstance(verdict, Resume) or verdict.offset < self.base:
            return False
        following = self._following(verdict.offset)
        return following is None or not following.is_inside_character(verdict.offset)

    def after(self, offset: int) -> Batch | None:
        """The next batch for a reader at `offset`, cut to what it lacks; None if it is up to date."""
        following = self._following(offset)
        return following.after(offset) if following else None

    def extend(self, entries: Sequence[LogEntry]) -> None:
        """Take in what the tail has read, and write it to the live readers. Raises `Diverged`."""
        self.take(entries)
        self._pending.flush()

    def take(self, entries: Sequence[LogEntry]) -> None:
        """The same, but some of it may be left in the pending: the caller flushes it before it does anything else."""
        if isinstance(entries, DeltaPage):
            tail, end = self.tail, entries.end_after(self.tail)
            if end is not None and end.attempt in self.nonces and end.offset - tail.offset <= _BATCH_BYTES:
                self._publish(Batch.of_page(entries, tail.offset, end, self.nonces))
                return
        self._take_each(entries)

    def _take_each(self, entries: Sequence[LogEntry]) -> None:
        run: list[LogEntry] = []
        size, offset = 0, self.tail.offset
        for entry in entries:
            if entry.position <= self.tail:
                continue  # read twice: by the hot and by the cold connection
            if entry.event.kind == "fence":
                self._publish_run(run)
                run, size = [], 0
                self._take_fence(entry)
                offset = self.tail.offset
                continue
            if entry.start != offset or entry.position.attempt not in self.nonces:
                raise Diverged
            offset = entry.position.offset
            run.append(entry)
            size += len(entry.event.value)
            if size >= _BATCH_BYTES:
                self._publish_run(run)
                run, size = [], 0
        self._publish_run(run)

    def prepend(self, batch: Batch, nonces: Mapping[int, str]) -> None:
        """Keep what one reader was given by Redis for others with its cursor, if it leads up to what is kept here.

        The nonces are those of the log it was read from. If that had other attempts, it may have been another text.
        """
        lacking = batch.until(self.base) if nonces == self.nonces else None
        if lacking is None or self._bytes + lacking.size_bytes > self._max_bytes:
            return
        self._batches.appendleft(lacking)
        self._bytes += lacking.size_bytes
        self.base = lacking.start

    def rebase(self, meta: Meta) -> None:
        """Start again from what Redis says; every reader judges its cursor anew."""
        self._evict_live()
        self._adopt(meta)
        self._wake_waiting()

    @property
    def kept_bytes(self) -> int:
        """About what the recent batches hold in memory."""
        return self._bytes

    def let_go(self) -> int:
        """Keep no past. Readers that are behind read Redis instead. Answers the bytes that became free."""
        kept_bytes = self._bytes
        while self._batches:
            self._drop_oldest()
        return kept_bytes - self._bytes

    def vanish(self) -> None:
        """The stream is gone from the store."""
        self.is_gone = True
        self._evict_live()
        self._wake_waiting()

    def is_live(self, reader: Follower) -> bool:
        live = self._live_beside(reader)
        return live is not None and reader in live

    def join(self, reader: Follower) -> None:
        """Make an up-to-date reader live."""
        channel = reader.channel
        if channel is None or self.is_live(reader):
            return
        if channel not in self._live:
            self._live[channel] = LiveReaders()
            self._arrange()
        self._live[channel].add(reader)
        self._live_readers += 1
        if reader.wire_state is not None:
            # Whoever else is live on this wire has the same: it is made of the log, and they are all at its tail.
            self._states = self._states or {}
            self._states[reader.wire] = reader.wire_state

    def write(self, reader: Follower, wrapped: bytes) -> None:
        """Write to one live reader what is no news."""
        live = self._live_beside(reader)
        if live is not None:
            live.write(reader, wrapped)

    def leave(self, reader: Follower) -> None:
        """Stop writing to a live reader; its cursor becomes what it has been written."""
        live = self._live_beside(reader)
        if live is not None and reader in live:
            live.discard(reader)
            self._live_readers -= 1
            reader.cursor = self.cursor
            if self._states is not None:
                reader.wire_state = self._states.get(reader.wire)

    def _live_beside(self, reader: Follower) -> LiveReaders | None:
        channel = reader.channel
        return None if channel is None else self._live.get(channel)

    def _following(self, offset: int) -> Batch | None:
        """The first batch that ends after `offset`."""
        following = None
        for batch in reversed(self._batches):
            if batch.end <= offset:
                break
            following = batch
        return following

    def _adopt(self, meta: Meta) -> None:
        self._take_lineage(meta.fences, meta.tail)
        self.tail: Position = self._lineage.position
        self._forget(self.tail.offset)

    def _take_lineage(self, fences: Sequence[Fence], tail: int) -> None:
        self._fences = tuple(fences)
        self._lineage = Lineage(fences, tail)
        self.nonces = self._lineage.nonces

    def _forget(self, base: int) -> None:
        self.base = base
        self._batches.clear()
        self._bytes = 0

    def _publish_run(self, run: Sequence[LogEntry]) -> None:
        if not run:
            return
        batch = Batch(run, self.nonces)
        self._publish(batch)
        # At once: what follows in this read may take the readers' liveness away, and with it what they are not written.
        self._pending.flush()
        if batch.is_last:
            self.is_over = True
            self._evict_live()
            self._wake_waiting()

    def _publish(self, batch: Batch) -> None:
        # Before the writes: a reader that stalls in the middle of them leaves with this batch behind it.
        self.tail = batch.position
        self._keep(batch)
        self._write_live(batch)
        self._wake_waiting()

    def _write_live(self, batch: Batch) -> None:
        framed, payload = None, b""
        for wire, wrap, last in self._targets:
            targets = self._arranged(wire, wrap) if last.is_past else last
            if targets.number:
                self._delivered(wire, targets.number * batch.events)
                if wire is not framed:
                    payload = batch.news(wire, None) if self._states is None else self._news(batch, wire, self._states)
                    framed = wire
                if payload:
                    self._pending.add(wrap(payload), targets)

    def _news(self, batch: Batch, wire: Wire, states: dict[Wire, WireState]) -> bytes:
        """The frames of a batch, after which the wire's state, if it has one, is that of the new tail."""
        state = states.get(wire)
        if state is not None:
            states[wire] = wire.after(state, batch.entries)
        return batch.news(wire, state)

    def _arrange(self) -> None:
        wires = [channel.wire for channel in self._live]
        channels = sorted(self._live.items(), key=lambda item: wires.index(item[0].wire))
        self._targets = tuple([(wire, wrap, live.targets()) for (wire, wrap), live in channels])

    def _arranged(self, wire: Wire, wrap: Wrap) -> LiveTargets:
        self._arrange()
        return self._live[Channel(wire, wrap)].targets()

    def _keep(self, batch: Batch) -> None:
        self._batches.append(batch)
        self._bytes += batch.size_bytes
        while self._bytes > self._max_bytes and len(self._batches) > 1:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest = self._batches.popleft()
        self._bytes -= oldest.size_bytes
        self.base = oldest.end

    def _take_fence(self, entry: LogEntry) -> None:
        attempt, keep = entry.position
        if keep > self.tail.offset:
            raise Diverged
        if keep < self.tail.offset:
            self._evict_live()
            self._forget(keep)
        fields = entry.event.fields()
        self._take_lineage((*self._fences, Fence(attempt, fields["nonce"], keep)), keep)
        self.tail = entry.position
        self._wake_waiting()

    def _evict_live(self) -> None:
        for reader in [reader for reader in self.readers if self.is_live(reader)]:
            self.leave(reader)
            reader.wake()

    def _wake_waiting(self) -> None:
        if self._live_readers == len(self.readers):
            return  # nearly always, and a look at each of 1,500 readers is not free
        for reader in self._waiting():
            reader.wake()

    def _waiting(self) -> Set[Follower]:
        return self.readers.difference(*(live.members for live in self._live.values()))
