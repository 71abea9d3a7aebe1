"""From Redis replies to our types. Pure functions over bytes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, replace
from typing import Any, Final, Literal, cast

import orjson

from shared.events import Event, LogEntry, stored
from shared.footprint import share_bytes
from shared.lineage import Fence, Lineage
from shared.listing import ListingCursor
from shared.position import Position
from shared.store import (
    Append,
    Appended,
    AppendReply,
    Beating,
    BeatReply,
    Cancelling,
    CancelReply,
    Claimed,
    ClaimReply,
    Closed,
    Compacted,
    CompactReply,
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
    Meta,
    Recount,
    Snapshot,
    Stale,
    Stalest,
    TailMismatch,
    Tombstone,
    Usage,
)
from shared.token_usage import AttemptUsage, read_usage

__all__ = (
    "LARGE",
    "STALEST_FIELDS",
    "USAGE_FIELDS",
    "append_reply",
    "beat_reply",
    "block_entries",
    "block_parts",
    "cancel_reply",
    "claim_reply",
    "compact_reply",
    "create_reply",
    "delete_reply",
    "evict_reply",
    "finish_reply",
    "log_entries",
    "meta_reply",
    "recount_reply",
    "snapshot_reply",
    "stalest",
    "tenant_sums",
    "tombstone_reply",
    "usage_reply",
    "usage_sum",
)

Reply = Sequence[bytes]
STALEST_FIELDS: Final = ("tenant", "status", "bytes", "folded", "fully_folded")
# In place of a page that holds more than was asked for.
LARGE: Final = [b"LARGE"]
USAGE_FIELDS: Final = tuple(Usage.__dataclass_fields__)

# Redis gives names as bytes for every entry; one look-up is cheaper than a decode, and the strings are shared.
_KINDS = {
    kind.encode(): kind
    for kind in ("text", "reasoning", "refusal", "tool_call", "usage", "fence", "done", "error", "cancelled")
}
_FENCE, _WORKER = b"fence:", b"worker:"
_USAGE = b"usage:"
_TENANT = b"bytes:"


def create_reply(reply: Reply) -> CreateReply:
    match reply[0]:
        case b"CREATED":
            return Created(int(reply[1]))
        case b"EXISTS":
            return Exists(reply[1].decode(), reply[2].decode(), reply[3].decode())
    return cast("CreateReply", _refusal(reply))


def claim_reply(reply: Reply) -> ClaimReply:
    match reply[0]:
        case b"CLAIMED":
            return Claimed(int(reply[1]), int(reply[2]), reply[3], reply[4] == b"1", reply[5].decode())
        case b"EXHAUSTED":
            return Exhausted(int(reply[1]))
    return cast("ClaimReply", _refusal(reply))


def append_reply(append: Append, reply: Reply | bytes | Literal[1] | Exception) -> AppendReply | Exception:
    """The good answer comes as a bare 1 or as one string, which Redis makes faster than a list; refusals as lists."""
    if isinstance(reply, int):
        return Appended(append.safe)
    if isinstance(reply, Exception):
        return reply
    if isinstance(reply, bytes):
        _, tail, cancelling, held, base_bytes = reply.split(b" ")
        held_bytes = int(held)
        return Appended(int(tail), cancelling == b"1", held_bytes, held_bytes - int(base_bytes))
    if reply[0] == b"TAIL":
        return TailMismatch(int(reply[1]))
    return cast("AppendReply", _refusal(reply))


def beat_reply(reply: Reply) -> BeatReply:
    if reply[0] == b"BEATING":
        return Beating(reply[1] == b"1")
    return cast("BeatReply", _refusal(reply))


def cancel_reply(reply: Reply) -> CancelReply:
    match reply[0]:
        case b"CANCELLING":
            return Cancelling()
        case b"STALE":
            return Stale(int(reply[1]))
        case b"ENDED":
            return Ended(int(reply[1]), int(reply[2]))
    return cast("CancelReply", _refusal(reply))


def finish_reply(reply: Reply) -> FinishReply:
    if reply[0] == b"ENDED":
        return Ended(int(reply[1]), int(reply[2]))
    return cast("FinishReply", _refusal(reply))


def delete_reply(reply: Reply) -> Deleted | Gone:
    return Deleted() if reply[0] == b"DELETED" else Gone()


def compact_reply(reply: Reply) -> CompactReply:
    if reply[0] == b"COMPACTED":
        folded, trimmed, held, unfolded = map(int, reply[1:5])
        return Compacted(folded, trimmed, held, unfolded, reply[5] == b"1")
    return cast("CompactReply", _refusal(reply))


def evict_reply(reply: Reply) -> EvictReply:
    match reply[0]:
        case b"EVICTED":
            return Evicted(int(reply[1]))
        case b"LIVE":
            return Live()
    return Gone()


def recount_reply(reply: Reply) -> Recount | None:
    return Recount(*map(int, reply[1:4])) if reply[0] == b"RECOUNTED" else None


def usage_reply(raw: Sequence[bytes | None]) -> Usage:
    return Usage(*(int(value or 0) for value in raw))


def usage_sum(found: Iterable[Usage]) -> Usage:
    """The usage of several buckets. A sum that drifted below nothing counts as nothing."""
    usages = list(found)
    columns = zip(*map(astuple, usages), strict=True)
    total = Usage(*(max(sum(column), 0) for column in columns))
    return replace(total, largest=max((usage.largest for usage in usages), default=0))


def stalest(place: ListingCursor, fields: Sequence[bytes | None]) -> Stalest:
    """Of a stream that is there, by its `STALEST_FIELDS`."""
    tenant, status, held, folded, fully_folded = (value or b"" for value in fields)
    counted = int(held) + share_bytes(folded=int(folded or 0), is_fully_folded=bool(fully_folded))
    return Stalest(place.id, tenant.decode(), status.decode(), counted, place.touched_ms, str(place))


def tenant_sums(usages: Iterable[Mapping[bytes, bytes]]) -> dict[str, int]:
    sums: dict[str, int] = {}
    for usage in usages:
        for name, value in usage.items():
            if name.startswith(_TENANT):
                tenant = name[len(_TENANT) :].decode()
                sums[tenant] = sums.get(tenant, 0) + int(value)
    return sums


def _refusal(reply: Reply) -> Fenced | Closed | Held | Gone:
    """The answers that several functions share."""
    match reply[0]:
        case b"FENCED":
            return Fenced(int(reply[1]))
        case b"CLOSED":
            return Closed(reply[1].decode(), int(reply[2]))
        case b"HELD":
            return Held(int(reply[1]))
        case b"GONE":
            return Gone()
    raise ValueError(f"not an answer of ours: {reply[0]!r}")


def log_entries(raw: Sequence[tuple[bytes, Any]]) -> list[LogEntry]:
    """Entries of an XRANGE or of one stream of an XREAD, fields as a flat list."""
    return [LogEntry(Position.parse(entry_id), stored(_KINDS[fields[0]], fields[1])) for entry_id, fields in raw]


def block_entries(raw: Sequence[tuple[bytes, Any]], lineage: Lineage) -> list[LogEntry]:
    """The merged events inside blocks. Fields: `start` and its offset, then kind and value of each part."""
    return [
        entry
        for _, fields in raw
        for entry in block_parts(
            int(fields[1]), zip((_KINDS[kind] for kind in fields[2::2]), fields[3::2], strict=True), lineage
        )
    ]


def block_parts(start: int, parts: Iterable[tuple[str, bytes]], lineage: Lineage) -> list[LogEntry]:
    """The merged events of one block that begins at offset `start`."""
    offset, entries = start, []
    for kind, value in parts:
        event: Event = stored(kind, value)
        offset += event.size
        entries.append(LogEntry(lineage.event_id(offset).position, event))
    return entries


def meta_reply(stream_id: str, raw: Mapping[bytes, bytes]) -> Meta | None:
    """The meta hash, or None if it is not there (or half there: a key that somebody else made)."""
    if b"status" not in raw:
        return None
    fences = _fences(raw)
    return Meta(
        id=stream_id,
        tenant=_text(raw, b"tenant"),
        status=_text(raw, b"status"),
        model=_text(raw, b"model"),
        attempt=_number(raw, b"attempt"),
        nonce=_text(raw, b"nonce"),
        tail=_number(raw, b"tail"),
        folded=_number(raw, b"folded"),
        trimmed=_number(raw, b"trimmed"),
        provider=_text(raw, b"provider"),
        worker=next((fence.worker for fence in reversed(fences) if fence.worker), ""),
        bytes=_number(raw, b"bytes"),
        cancelling=raw.get(b"cancel") == b"1",
        created_ms=_number(raw, b"created_ms"),
        started_ms=_number(raw, b"started_ms"),
        first_ms=_number(raw, b"first_ms"),
        finished_ms=_number(raw, b"finished_ms"),
        expires_ms=_number(raw, b"expires_ms"),
        lease_ms=_number(raw, b"lease_ms"),
        interruption=_text(raw, b"interruption"),
        finish_reason=_text(raw, b"finish_reason"),
        error=_json(raw, b"error"),
        metadata=_json(raw, b"metadata") or {},
        usages=_usages(raw),
        fences=fences,
    )


def snapshot_reply(stream_id: str, reply: Sequence[Any]) -> Snapshot | None:
    fields, blocks, recent = reply
    meta = meta_reply(stream_id, dict(zip(fields[::2], fields[1::2], strict=True)))
    if meta is None:
        return None
    return Snapshot(meta, block_entries(blocks, meta.lineage) + log_entries(recent))


def tombstone_reply(raw: Mapping[bytes, bytes]) -> Tombstone | None:
    if b"tenant" not in raw:
        return None
    return Tombstone(_text(raw, b"tenant"), _number(raw, b"gone_ms"), raw.get(b"deleted") == b"1")


def _fences(raw: Mapping[bytes, bytes]) -> tuple[Fence, ...]:
    """All fences, oldest first: a large hash comes in no particular order."""
    found = [
        _fence(name, body, worker=_text(raw, _WORKER + name[len(_FENCE) :]))
        for name, body in raw.items()
        if name.startswith(_FENCE)
    ]
    return tuple(sorted(found, key=lambda fence: fence.attempt))


def _fence(name: bytes, body: bytes, *, worker: str) -> Fence:
    fields = orjson.loads(body)
    attempt = int(name[len(_FENCE) :])
    return Fence(attempt, fields["nonce"], int(fields["keep"]), fields["reason"], worker)


def _usages(raw: Mapping[bytes, bytes]) -> dict[int, AttemptUsage]:
    return {
        int(name[len(_USAGE) :]): read_usage(line.decode()) for name, line in raw.items() if name.startswith(_USAGE)
    }


def _text(raw: Mapping[bytes, bytes], name: bytes) -> str:
    return raw.get(name, b"").decode()


def _number(raw: Mapping[bytes, bytes], name: bytes) -> int:
    return int(raw.get(name) or 0)


def _json(raw: Mapping[bytes, bytes], name: bytes) -> dict[str, Any] | None:
    value = raw.get(name)
    return orjson.loads(value) if value else None
