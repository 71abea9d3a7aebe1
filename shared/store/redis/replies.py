"""From Redis replies to our types. Pure functions over bytes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, Literal, cast

from shared.log.events import KINDS, LogEntry, stored
from shared.log.lineage import Lineage
from shared.log.position import Position
from shared.store.accounting import share_bytes
from shared.store.calls import Append
from shared.store.listing import IndexPlace
from shared.store.meta_hash import block_parts, meta_reply
from shared.store.replies import (
    Appended,
    AppendReply,
    Beating,
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
    RenewalReply,
    Stale,
    TailMismatch,
)
from shared.store.state import ByteSums, EvictionCandidate, Recount, Snapshot

__all__ = (
    "CANDIDATE_FIELDS",
    "LARGE",
    "USAGE_FIELDS",
    "append_reply",
    "block_entries",
    "cancel_reply",
    "claim_reply",
    "compact_reply",
    "create_reply",
    "delete_reply",
    "evict_reply",
    "eviction_candidate",
    "finish_reply",
    "log_entries",
    "recount_reply",
    "renewal_reply",
    "snapshot_reply",
    "tenant_sums",
    "usage_reply",
)

Reply = Sequence[bytes]
CANDIDATE_FIELDS: Final = ("tenant", "status", "bytes", "folded", "whole")
# In place of a page that holds more than was asked for.
LARGE: Final = [b"LARGE"]
USAGE_FIELDS: Final = tuple(ByteSums.__dataclass_fields__)


class _Kinds(dict[bytes, str]):
    """Kinds by their names in Redis. What only a newer version knows is a kind all the same (P-2.7)."""

    def __missing__(self, name: bytes) -> str:
        return name.decode(errors="replace")


# Redis gives names as bytes for every entry; one look-up is cheaper than a decode, and the strings are shared.
_KINDS: Final = _Kinds({kind.encode(): kind for kind in KINDS})
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


def renewal_reply(reply: Reply) -> RenewalReply:
    if reply[0] == b"BEATING":
        return Beating(reply[1] == b"1")
    return cast("RenewalReply", _refusal(reply))


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


def usage_reply(raw: Sequence[bytes | None]) -> ByteSums:
    return ByteSums(*(int(value or 0) for value in raw))


def eviction_candidate(place: IndexPlace, fields: Sequence[bytes | None]) -> EvictionCandidate:
    """Of a stream that is there, by its `CANDIDATE_FIELDS`."""
    tenant, status, held, folded, fully_folded = (value or b"" for value in fields)
    counted = int(held) + share_bytes(folded=int(folded or 0), is_fully_folded=bool(fully_folded))
    return EvictionCandidate(place.id, tenant.decode(), status.decode(), counted, place.at_ms, str(place))


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


def snapshot_reply(stream_id: str, reply: Sequence[Any]) -> Snapshot | None:
    fields, blocks, recent = reply
    meta = meta_reply(stream_id, dict(zip(fields[::2], fields[1::2], strict=True)))
    if meta is None:
        return None
    return Snapshot(meta, block_entries(blocks, meta.lineage) + log_entries(recent))
