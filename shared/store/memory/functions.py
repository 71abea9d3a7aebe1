"""The functions of `shared/store/redis/lua/`, line by line, on a stream in memory: what changes there changes here."""

from dataclasses import replace

from shared.errors import StoreMisused
from shared.log import events
from shared.log.events import DELTA_KINDS, KINDS, TERMINAL_KINDS, Event
from shared.log.position import Position
from shared.store.accounting import request_room_bytes
from shared.store.calls import Append, Claim, Eviction, LeaseRenewal, NewStream, Retention
from shared.store.memory.compaction import ENTRY_OVERHEAD, share_of
from shared.store.memory.stream import MemoryStream
from shared.store.replies import (
    Appended,
    AppendReply,
    Beating,
    Cancelling,
    CancelReply,
    Claimed,
    ClaimReply,
    Closed,
    Created,
    CreateReply,
    Deleted,
    Ended,
    Evicted,
    EvictReply,
    Exhausted,
    Exists,
    Fenced,
    FinishReply,
    Gone,
    Held,
    Live,
    RenewalReply,
    Stale,
    TailMismatch,
)
from shared.store.state import Tombstone, is_over

__all__ = ("append", "cancel", "claim", "create", "delete", "evict", "finish", "heartbeat", "release", "touch")

# The sums are told whenever the bytes of a live stream pass a multiple of this.
_SUMS_STEP_BYTES = 16384
_APPENDABLE = KINDS - {"fence"}


def create(stream: MemoryStream, new: NewStream, retention: Retention, now: int) -> CreateReply:
    if stream.exists:
        return Exists(stream.text("digest"), stream.text("status"), stream.text("tenant"))
    if stream.tombstone is not None:
        return Gone()
    stream.put(status="queued", tenant=new.tenant, model=new.model, attempt=0, nonce="", tail=0, safe=0)
    held = request_room_bytes(len(new.request)) + len(new.metadata)
    stream.put(bytes=held, base_bytes=held, counted_bytes=held, digest=new.digest, metadata=new.metadata)
    stream.put(interruption=new.interruption or "", created_ms=now, lease_ms=now + new.dispatch_ms)
    stream.request, stream.lease_ms, stream.touched_ms, stream.listed_ms = new.request, now + new.dispatch_ms, now, now
    stream.tombstone = Tombstone(new.tenant, 0, deleted=False)
    _expire_at(stream, now + retention.live_ms, retention)
    return Created(now)


def claim(stream: MemoryStream, claim: Claim, retention: Retention, now: int) -> ClaimReply:
    if not stream.exists or stream.is_headless:
        return _drop(stream, now)
    if is_over(stream.text("status")):
        return _closed(stream)
    attempt, lease_ms = stream.number("attempt"), stream.number("lease_ms")
    if attempt > 0 and stream.text("nonce") != claim.holder and lease_ms > now:
        return Held(lease_ms)
    if stream.request is None:
        return _drop(stream, now)
    if attempt >= claim.max_attempts:
        return Exhausted(attempt)
    keep = stream.number("safe") if claim.mode == "continue" else 0
    freed = _fence(stream, attempt + 1, keep, claim.nonce, claim.reason, claim.worker)
    held_bytes = stream.number("bytes") - freed
    stream.put(bytes=held_bytes if keep else stream.request_bytes + len(stream.meta[b"metadata"]))
    stream.put(status="running", provider="", lease_ms=now + claim.lease_ms)
    stream.meta.setdefault(b"started_ms", str(now).encode())
    stream.lease_ms = now + claim.lease_ms
    _expire_at(stream, now + retention.live_ms, retention)
    _update_sums(stream)
    return Claimed(attempt + 1, keep, stream.request, _is_cancelling(stream), stream.text("interruption"))


def append(stream: MemoryStream, call: Append, retention: Retention, now: int) -> AppendReply:
    refused = _refused_writer(stream, call.nonce)
    if refused is not None:
        return refused
    attempt, start = stream.position
    if start != call.tail:
        return TailMismatch(start)
    _check_events(call)
    tail = start + sum(event.size for event in call.events)
    _check_safe(stream, call, tail)
    if call.events and not stream.log:
        return Gone()
    offset, added, before = start, 0, stream.number("bytes")
    for event in call.events:
        offset += event.size
        added += ENTRY_OVERHEAD + len(event.value)
        stream.write(Position(attempt, offset), event)
    stream.put(tail=tail, safe=call.safe)
    stream.add("bytes", added)
    stream.put(**call.updates)
    if start == 0 and call.events and not (call.events[0].is_terminal or call.events[0].kind == "usage"):
        stream.meta.setdefault(b"first_ms", str(now).encode())
    if call.events and call.events[-1].is_terminal:
        _close(stream, call.events[-1].kind, retention, now)
    elif before // _SUMS_STEP_BYTES != (before + added) // _SUMS_STEP_BYTES:
        _update_sums(stream)
    held = stream.number("bytes")
    return Appended(tail, _is_cancelling(stream), held, held - stream.number("base_bytes"))


def heartbeat(stream: MemoryStream, renewal: LeaseRenewal, retention: Retention, now: int) -> RenewalReply:
    if not stream.exists or stream.is_headless:
        return _drop(stream, now)
    if not stream.log:
        return Gone()
    refused = _refused_writer(stream, renewal.nonce)
    if refused is not None:
        return refused
    stream.put(lease_ms=now + renewal.lease_ms)
    stream.lease_ms, stream.touched_ms = now + renewal.lease_ms, now
    _update_sums(stream)
    _expire_at(stream, now + retention.live_ms, retention)
    return Beating(_is_cancelling(stream))


def release(stream: MemoryStream, nonce: str) -> RenewalReply:
    refused = _refused_writer(stream, nonce)
    if refused is not None:
        return refused
    stream.put(lease_ms=0)
    if stream.lease_ms is not None:
        stream.lease_ms = 0
    return Beating(_is_cancelling(stream))


def cancel(stream: MemoryStream, *, attempt: int | None, nonce: str, retention: Retention, now: int) -> CancelReply:
    if not stream.exists or stream.is_headless:
        return Gone()
    if is_over(stream.text("status")):
        return _closed(stream)
    current = stream.number("attempt")
    if attempt is not None and attempt != current:
        return Stale(current)
    if current > 0 and stream.number("lease_ms") > now:
        stream.put(cancel="1")
        return Cancelling()
    return _close_unowned(stream, events.CANCELLED, nonce, retention, now)


def finish(stream: MemoryStream, event: Event, *, nonce: str, retention: Retention, now: int) -> FinishReply:
    if not stream.exists or stream.is_headless:
        return Gone()
    if is_over(stream.text("status")):
        return _closed(stream)
    if not event.is_terminal:
        raise StoreMisused(f"finish: not a terminal event: {event.kind}")
    if stream.number("lease_ms") > now:
        return Held(stream.number("lease_ms"))
    stream.put(**{event.kind: event.value})
    return _close_unowned(stream, event, nonce, retention, now)


def delete(stream: MemoryStream, retention: Retention, now: int) -> Deleted | Gone:
    if not stream.exists:
        return Gone()
    stream.tombstone = Tombstone(stream.text("tenant"), now, deleted=True)
    stream.forgotten_ms = now + retention.tombstone_ms
    stream.leave_indexes()
    stream.vanish()
    return Deleted()


def evict(stream: MemoryStream, why: Eviction, tombstone_ms: int, now: int) -> EvictReply:
    if not stream.exists:
        stream.leave_indexes()
        return Gone()
    if not is_over(stream.text("status")) or (why == "expired" and stream.number("expires_ms") > now):
        return Live()
    held = stream.number("bytes") + share_of(stream)
    stream.tombstone = Tombstone(stream.text("tenant"), now, deleted=False) if tombstone_ms else None
    stream.forgotten_ms = now + tombstone_ms
    stream.leave_indexes()
    stream.vanish()
    return Evicted(held)


def touch(stream: MemoryStream, now: int) -> None:
    if stream.touched_ms is not None:
        stream.touched_ms = max(stream.touched_ms, now)


def _drop(stream: MemoryStream, now: int) -> Gone:
    """Remove what is left of a stream that lost a key."""
    stream.leave_indexes()
    stream.vanish()
    if stream.tombstone is not None and stream.tombstone.gone_ms > now:
        stream.tombstone = replace(stream.tombstone, gone_ms=now)
    return Gone()


def _refused_writer(stream: MemoryStream, nonce: str) -> Fenced | Closed | Gone | None:
    if not stream.exists:
        return Gone()
    if stream.text("nonce") != nonce:
        return Fenced(stream.number("attempt"))
    return _closed(stream) if is_over(stream.text("status")) else None


def _closed(stream: MemoryStream) -> Closed:
    return Closed(stream.text("status"), stream.number("tail"))


def _is_cancelling(stream: MemoryStream) -> bool:
    return stream.text("cancel") == "1"


def _check_events(call: Append) -> None:
    is_closed = False
    for event in call.events:
        if is_closed:
            raise StoreMisused("append: nothing follows a terminal event")
        if not _is_sound(event):
            raise StoreMisused(f"append: not an event: {event.kind} of size {event.size}")
        is_closed = event.kind in TERMINAL_KINDS


def _is_sound(event: Event) -> bool:
    if event.kind not in _APPENDABLE or event.size < 1 or event.size % 1 != 0:
        return False
    if event.kind == "tool_call":
        return True
    return event.size == (len(event.value) if event.kind in DELTA_KINDS else 1)


def _check_safe(stream: MemoryStream, call: Append, tail: int) -> None:
    held = stream.number("safe")
    if not held <= call.safe <= tail:
        raise StoreMisused("append: the safe offset moves back or is beyond the tail")
    ends = {held, call.tail}
    offset = call.tail
    for event in call.events:
        offset += event.size
        ends.add(offset)
    if call.safe not in ends and stream.log and not stream.has_entry(Position(stream.number("attempt"), call.safe)):
        raise StoreMisused("append: the safe offset is inside an event")


def _fence(stream: MemoryStream, attempt: int, keep: int, nonce: str, reason: str, worker: str) -> int:
    """Cuts the log back to `keep` units and bars every older writer. Answers the bytes that became free."""
    lost = stream.after(Position(attempt - 1, keep), len(stream.log)) if keep else list(stream.log)
    stream.log = stream.log[: len(stream.log) - len(lost)]
    if not keep:
        stream.add("base_bytes", -stream.blocks_bytes)
        stream.blocks = []
        stream.meta.pop(b"folded", None)
        stream.meta.pop(b"trimmed", None)
    event = events.fence(nonce=nonce, keep=keep, reason=reason, worker=worker)
    stream.write(Position(attempt, keep), event)
    stream.put(attempt=attempt, nonce=nonce, tail=keep, safe=keep, **{f"fence:{attempt}": event.value})
    if worker:
        stream.put(**{f"worker:{attempt}": worker})
    return sum(ENTRY_OVERHEAD + len(entry.event.value) for entry in lost)


def _close_unowned(stream: MemoryStream, event: Event, nonce: str, retention: Retention, now: int) -> Ended:
    """Ends a stream that has no living writer: takes the next attempt only to write the terminal event."""
    attempt, tail = stream.position
    _fence(stream, attempt + 1, tail, nonce, event.kind, "")
    stream.write(Position(attempt + 1, tail + 1), event)
    stream.put(tail=tail + 1, safe=tail + 1)
    stream.add("bytes", ENTRY_OVERHEAD + len(event.value))
    _close(stream, event.kind, retention, now)
    return Ended(attempt + 1, tail + 1)


def _close(stream: MemoryStream, kind: str, retention: Retention, now: int) -> None:
    stream.put(status=kind, finished_ms=now, lease_ms=0)
    stream.add("bytes", -stream.request_bytes)
    stream.add("base_bytes", -stream.request_bytes)
    stream.request, stream.lease_ms, stream.touched_ms, stream.chore_ms = None, None, now, now
    _update_sums(stream)
    _expire_at(stream, now + retention.retain_ms, retention)


def _update_sums(stream: MemoryStream) -> None:
    stream.put(counted_bytes=stream.number("bytes"))


def _expire_at(stream: MemoryStream, at_ms: int, retention: Retention) -> None:
    stream.put(expires_ms=at_ms)
    stream.expires_ms, stream.forgotten_ms = at_ms, at_ms + retention.tombstone_ms
    if stream.tombstone is not None:
        stream.tombstone = Tombstone(stream.tombstone.tenant, at_ms, deleted=False)
