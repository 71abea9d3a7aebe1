"""All streams of a store in memory: synchronous, with a clock from outside, and ways to lose what Redis can lose."""

import secrets
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from shared.log.events import Event, LogEntry
from shared.log.keys import bucket_of
from shared.log.position import Position
from shared.store.calls import Append, Claim, Compact, Eviction, LeaseRenewal, NewStream, Retention
from shared.store.listing import IndexPlace, matches
from shared.store.memory import functions as functions
from shared.store.memory.compaction import compact, share_of
from shared.store.memory.stream import MemoryStream, Version
from shared.store.replies import (
    AppendReply,
    Cancelling,
    CancelReply,
    ClaimReply,
    CompactReply,
    Created,
    CreateReply,
    Deleted,
    Evicted,
    EvictReply,
    FinishReply,
    Gone,
    RenewalReply,
)
from shared.store.state import ByteSums, EvictionCandidate, Listing, Meta, Recount, Snapshot, Tombstone

__all__ = ("Clock", "MemoryStreams", "Moment")

T = TypeVar("T")
Clock = Callable[[], int]

# How many past states of a stream `lose_tail` can choose from.
_HISTORY: Final = 10_000


@dataclass(frozen=True, slots=True)
class Moment:
    """The state that `MemoryStreams.snapshot` saw; only good for `restore`."""

    histories: Mapping[str, Sequence[Version]]


class MemoryStreams:
    """The functions of `Store`, each in one step. `clock` tells the time in ms."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._listeners: dict[Callable[[], None], None] = {}
        self._cancel_listeners: dict[Callable[[str], None], None] = {}
        self._streams: dict[str, MemoryStream] = {}
        self._histories: dict[str, deque[Version]] = {}
        self._counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._secret = secrets.token_bytes(32)
        self._current: dict[str, tuple[str, int]] = {}

    def __repr__(self) -> str:
        return f"<MemoryStreams {len(self._streams)} streams>"

    # Writing

    def create(self, new: NewStream, retention: Retention) -> CreateReply:
        stream = self._streams.setdefault(new.id, MemoryStream(new.id))
        reply = self._write(stream.id, lambda stream, now: functions.create(stream, new, retention, now))
        if isinstance(reply, Created):
            self._counts[bucket_of(new.id)]["created"] += 1
            self._prune()
        return reply

    def set_current(self, name: str, stream_id: str, expires_ms: int) -> None:
        self._current[name] = (stream_id, self._clock() + expires_ms)

    def claim(self, stream_id: str, claim: Claim, retention: Retention) -> ClaimReply:
        return self._write(stream_id, lambda stream, now: functions.claim(stream, claim, retention, now))

    def append(self, call: Append, retention: Retention) -> AppendReply:
        return self._write(call.id, lambda stream, now: functions.append(stream, call, retention, now))

    def heartbeat(self, renewal: LeaseRenewal, retention: Retention) -> RenewalReply:
        return self._write(renewal.id, lambda stream, now: functions.heartbeat(stream, renewal, retention, now))

    def cancel(self, stream_id: str, *, attempt: int | None, nonce: str, retention: Retention) -> CancelReply:
        reply = self._write(
            stream_id,
            lambda stream, now: functions.cancel(stream, attempt=attempt, nonce=nonce, retention=retention, now=now),
        )
        if isinstance(reply, Cancelling):
            for heard in tuple(self._cancel_listeners):
                heard(stream_id)
        return reply

    def finish(self, stream_id: str, event: Event, *, nonce: str, retention: Retention) -> FinishReply:
        return self._write(
            stream_id,
            lambda stream, now: functions.finish(stream, event, nonce=nonce, retention=retention, now=now),
        )

    def release(self, stream_id: str, nonce: str) -> RenewalReply:
        return self._write(stream_id, lambda stream, _: functions.release(stream, nonce))

    def delete(self, stream_id: str, retention: Retention) -> Deleted | Gone:
        return self._write(stream_id, lambda stream, now: functions.delete(stream, retention, now))

    def forget(self, stream_id: str) -> None:
        stream = self._at(stream_id)
        stream.leave_indexes()
        self._record(stream)

    def compact(self, call: Compact) -> CompactReply:
        counts = self._counts[bucket_of(call.id)]
        return self._write(call.id, lambda stream, _: compact(stream, call, counts))

    def evict(self, stream_id: str, *, why: Eviction, tombstone_ms: int) -> EvictReply:
        reply = self._write(stream_id, lambda stream, now: functions.evict(stream, why, tombstone_ms, now))
        self._counts[bucket_of(stream_id)][why] += isinstance(reply, Evicted)
        return reply

    def touch(self, stream_id: str) -> None:
        self._write(stream_id, functions.touch)

    # Reading

    def meta(self, stream_id: str) -> Meta | None:
        return self._at(stream_id).view()

    def read(self, stream_id: str, after: Position, *, limit: int) -> Snapshot | None:
        stream = self._at(stream_id)
        meta = stream.view()
        return None if meta is None else Snapshot(meta, stream.page(after, limit))

    def tombstone(self, stream_id: str) -> Tombstone | None:
        return self._at(stream_id).tombstone

    def present(self, stream_ids: Sequence[str]) -> Sequence[str]:
        streams = [self._at(stream_id) for stream_id in stream_ids]
        return [stream.id for stream in streams if stream.exists and (stream.log or not stream.position.attempt)]

    def due(self, *, limit: int) -> Sequence[str]:
        now = self._clock()
        due = [
            (stream.lease_ms, stream.id)
            for stream in self._streams.values()
            if stream.lease_ms is not None and stream.lease_ms <= now
        ]
        return [stream_id for _, stream_id in sorted(due)[:limit]]

    def maintenance_due(self, *, quiet_ms: int, limit: int) -> Sequence[str]:
        until_ms = self._clock() - quiet_ms
        found = [(stream.chore_ms, stream.id) for stream in self._streams.values() if stream.chore_ms is not None]
        return [stream_id for chore_ms, stream_id in sorted(found) if chore_ms <= until_ms][:limit]

    def eviction_candidates(self, *, limit: int, place: str | None) -> Sequence[EvictionCandidate]:
        after = IndexPlace.parse(place) if place else IndexPlace(0, "")
        found = []
        for each in sorted(each for each in self._places() if each > after)[:limit]:
            meta = self.meta(each.id)
            if meta is not None:
                found.append(
                    EvictionCandidate(each.id, meta.tenant, meta.status, self.footprint(each.id), each.at_ms, str(each))
                )
        return found

    def usage_by_bucket(self) -> Mapping[str, ByteSums]:
        return {bucket: self._usage_of(bucket, counts) for bucket, counts in self._counts.items()}

    def tenant_bytes(self, tenant: str) -> int:
        return self.tenants().get(tenant, 0)

    def tenants(self) -> Mapping[str, int]:
        sums: Counter[str] = Counter()
        for stream in self._present():
            sums[stream.text("tenant")] += stream.number("counted_bytes") + share_of(stream)
        return sums

    def recount(self, bucket: str, *, limit: int) -> Recount | None:
        """Nothing drifts in memory."""
        sizes = [stream.number("counted_bytes") + share_of(stream) for stream in self._present(bucket)]
        if len(sizes) > limit:
            return None
        self._counts[bucket]["largest"] = max(sizes, default=0)
        return Recount(0, len(sizes), max(sizes, default=0))

    def footprint(self, stream_id: str) -> int:
        stream = self._at(stream_id)
        return stream.number("bytes") + share_of(stream) if stream.exists else 0

    def listing(self, tenant: str, *, status: str | None, limit: int, cursor: str | None) -> Listing:
        after = IndexPlace.parse(cursor) if cursor else None
        page: list[Meta] = []
        for place in sorted(self._created(), reverse=True):
            meta = self.meta(place.id)
            if (after and place >= after) or meta is None or meta.tenant != tenant or not matches(meta.status, status):
                continue
            page.append(meta)
            if len(page) == limit:
                return Listing(page, str(place))
        return Listing(page, None)

    def statistics(self) -> Mapping[str, int]:
        live = sum(stream.lease_ms is not None for stream in self._streams.values())
        created = sum(counts["created"] for counts in self._counts.values())
        return {"live": live, "finished": len(self._places()) - live, "created": created}

    def current(self, name: str, expires_ms: int) -> str | None:
        stream_id, until_ms = self._current.get(name, ("", 0))
        if self._clock() >= until_ms:
            self._current.pop(name, None)
            return None
        self._current[name] = (stream_id, self._clock() + expires_ms)
        return stream_id

    def secret(self) -> bytes:
        return self._secret

    def news(self, cursors: Mapping[str, Position], *, count: int) -> dict[str, Sequence[LogEntry]]:
        """Return the entries after each cursor; streams without news are left out."""
        found = {stream_id: self._at(stream_id).after(position, count) for stream_id, position in cursors.items()}
        return {stream_id: entries for stream_id, entries in found.items() if entries}

    def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard` after each write, in the order of listening, so that a simulation repeats itself."""
        self._listeners[heard] = None

    def ignore(self, heard: Callable[[], None]) -> None:
        self._listeners.pop(heard, None)

    def hear_cancels(self, heard: Callable[[str], None]) -> None:
        """Call `heard` with the id of each stream whose writer is asked to stop."""
        self._cancel_listeners[heard] = None

    def ignore_cancels(self, heard: Callable[[str], None]) -> None:
        self._cancel_listeners.pop(heard, None)

    # Losing

    def expire(self, stream_id: str) -> None:
        """The stream's time is up now; its tombstone stands as long as it would have."""
        stream = self._at(stream_id)
        if not stream.exists:
            return
        now, left_ms = self._clock(), stream.forgotten_ms - stream.expires_ms
        stream.expires_ms, stream.forgotten_ms = now, now + left_ms
        if stream.tombstone is not None:
            stream.tombstone = Tombstone(stream.tombstone.tenant, now, deleted=False)
        stream.vanish()
        self._record(stream)  # or a replica that has heard of it would bring the stream back
        self._changed()

    def lose_key(self, stream_id: str, key: str) -> None:
        """One key of the stream goes: stream, blocks, meta or request. Nobody is told."""
        stream = self._at(stream_id)
        stream.lose(key)
        self._record(stream)
        self._changed()

    def lose_tail(self, stream_id: str, *, to: Position) -> None:
        """A failover that lost whatever brought the stream beyond `to`, fences included. Readers are not told."""
        history = self._histories.get(stream_id, deque())
        while history and history[-1].position > to:
            history.pop()
        if history:
            self._streams[stream_id] = history[-1].revive()
        else:
            self._streams.pop(stream_id, None)
            self._histories.pop(stream_id, None)

    def snapshot(self) -> Moment:
        """All streams as they are, with their past."""
        return Moment({stream_id: tuple(history) for stream_id, history in self._histories.items()})

    def restore(self, moment: Moment) -> None:
        """Everything since the snapshot is lost: a restart from it, or a failover to where it was taken."""
        self._histories = {name: deque(versions, _HISTORY) for name, versions in moment.histories.items()}
        self._streams = {name: versions[-1].revive() for name, versions in moment.histories.items()}
        self._changed()

    # Keeping

    def _write(self, stream_id: str, function: Callable[[MemoryStream, int], T]) -> T:
        stream = self._at(stream_id)
        try:
            return function(stream, self._clock())
        finally:
            self._record(stream)
            self._changed()

    def _at(self, stream_id: str) -> MemoryStream:
        """The stream as of now; a blank one if it never was."""
        stream = self._streams.get(stream_id)
        if stream is None:
            return MemoryStream(stream_id)
        stream.expire(self._clock())
        return stream

    def _changed(self) -> None:
        for heard in tuple(self._listeners):
            heard()

    def _record(self, stream: MemoryStream) -> None:
        if self._streams.get(stream.id) is stream:
            self._histories.setdefault(stream.id, deque(maxlen=_HISTORY)).append(stream.version())

    def _created(self) -> list[IndexPlace]:
        return [
            IndexPlace(stream.listed_ms, stream.id) for stream in self._streams.values() if stream.listed_ms is not None
        ]

    def _places(self) -> list[IndexPlace]:
        return [
            IndexPlace(stream.touched_ms, stream.id)
            for stream in self._streams.values()
            if stream.touched_ms is not None
        ]

    def _present(self, bucket: str = "") -> list[MemoryStream]:
        streams = [self._at(stream_id) for stream_id in self._streams if stream_id.startswith(bucket)]
        return [stream for stream in streams if stream.exists]

    def _usage_of(self, bucket: str, counts: Mapping[str, int]) -> ByteSums:
        held = self._present(bucket)
        return ByteSums(
            bytes=sum(stream.number("counted_bytes") + share_of(stream) for stream in held),
            blocks=sum(stream.blocks_bytes for stream in held),
            requests=sum(stream.request_bytes for stream in held),
            **counts,
        )

    def _prune(self) -> None:
        """Names of streams that have expired leave the indexes; what has no tombstone either is forgotten."""
        for stream_id in list(self._streams):
            stream = self._at(stream_id)
            if not stream.exists:
                stream.leave_indexes()
            if not stream.exists and stream.tombstone is None:
                del self._streams[stream_id], self._histories[stream_id]
