"""Streams for tests: short calls for what a test needs before it can begin."""

from collections.abc import Sequence
from typing import Any

from shared.log import events
from shared.log.events import Event, LogEntry
from shared.log.keys import new_id
from shared.log.position import START
from shared.store.calls import Append, Claim, NewStream, Retention
from shared.store.replies import Appended, AppendReply, Claimed, ClaimReply, Created
from shared.store.store import Store

__all__ = (
    "ALL",
    "RETENTION",
    "TENANT",
    "append",
    "begin",
    "claim",
    "create",
    "end",
    "log",
    "new_stream",
    "nonce",
    "texts",
    "write",
)

RETENTION = Retention(live_ms=60_000, retain_ms=60_000, tombstone_ms=60_000)
TENANT = "acme"
REQUEST = b'{"messages":[]}'
LEASE_MS = 60_000
OVER_MS = -1_000
ALL = 1_000_000


def nonce(number: int) -> str:
    return f"{number:08x}"


def texts(*deltas: str) -> list[Event]:
    return [events.delta("text", delta) for delta in deltas]


def new_stream(stream_id: str | None = None, **options: Any) -> NewStream:
    values: dict[str, Any] = {"tenant": TENANT, "model": "small", "request": REQUEST} | options
    return NewStream(stream_id or new_id(buckets=16), **values)


async def create(store: Store, *, retention: Retention = RETENTION, **options: Any) -> str:
    """The id of a new stream that nobody has claimed."""
    new = new_stream(**options)
    assert isinstance(await store.create(new, retention), Created)
    return new.id


async def claim(
    store: Store, stream_id: str, number: int = 1, *, retention: Retention = RETENTION, **options: Any
) -> ClaimReply:
    """A claim with nonce number `number`."""
    values: dict[str, Any] = {"worker": "worker-1", "lease_ms": LEASE_MS} | options
    return await store.claim(stream_id, Claim(nonce(number), **values), retention)


async def begin(store: Store, *, retention: Retention = RETENTION, lease_ms: int = LEASE_MS, **options: Any) -> str:
    """The id of a new stream that nonce number 1 writes."""
    stream_id = await create(store, retention=retention, **options)
    assert isinstance(await claim(store, stream_id, retention=retention, lease_ms=lease_ms), Claimed)
    return stream_id


async def append(
    store: Store,
    stream_id: str,
    new: Sequence[Event],
    *,
    number: int = 1,
    tail: int = 0,
    safe: int | None = None,
    retention: Retention = RETENTION,
    **updates: str | int | bytes,
) -> AppendReply:
    """One append; a refusal by the store is raised. Without `safe` all of it is safe."""
    end = tail + sum(event.size for event in new)
    call = Append(stream_id, nonce(number), tail, new, end if safe is None else safe, updates)
    (reply,) = await store.append([call], retention)
    if isinstance(reply, Exception):
        raise reply
    return reply


async def write(store: Store, stream_id: str, *deltas: str, number: int = 1, tail: int = 0, **options: Any) -> int:
    """Append text and answer the new tail."""
    reply = await append(store, stream_id, texts(*deltas), number=number, tail=tail, **options)
    assert isinstance(reply, Appended)
    return reply.tail


async def end(store: Store, stream_id: str, *, number: int = 1, tail: int = 0) -> int:
    reply = await append(store, stream_id, [events.done("stop")], number=number, tail=tail)
    assert isinstance(reply, Appended)
    return reply.tail


async def log(store: Store, stream_id: str) -> list[LogEntry]:
    """The whole log, of which it is checked here that it has neither hole nor double."""
    snapshot = await store.read(stream_id, START, limit=ALL)
    assert snapshot is not None
    offset = 0
    for entry in snapshot.entries:
        assert entry.start == offset, f"{entry} does not follow offset {offset}"
        offset = entry.position.offset
    assert offset == snapshot.meta.tail
    return list(snapshot.entries)
