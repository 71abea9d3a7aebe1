"""The hash `meta`: its fields read into types. Both stores keep it in this form."""

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from shared.log.events import Event, LogEntry, stored
from shared.log.lineage import Fence, Lineage
from shared.log.tokens import AttemptUsage, read_usage
from shared.store.state import Meta, Tombstone

__all__ = ("block_parts", "meta_reply", "tombstone_reply")


_FENCE, _WORKER = b"fence:", b"worker:"


_USAGE = b"usage:"


def block_parts(start: int, parts: Iterable[tuple[str, bytes]], lineage: Lineage) -> list[LogEntry]:
    """The merged events of one block that begins at offset `start`."""
    offset, entries = start, []
    for kind, value in parts:
        event: Event = stored(kind, value)
        offset += event.size
        entries.append(LogEntry(lineage.event_id(offset).position, event))
    return entries


def meta_reply(stream_id: str, raw: Mapping[bytes, bytes]) -> Meta | None:
    """The meta hash, or None if it is not there (or half there: a key that somebody else made).

    Raises `ValueError` or `LookupError` if it is not as our functions write it: no reader could be judged by it.
    """
    if b"status" not in raw:
        return None
    fences, attempt = _fences(raw), _count(raw, b"attempt")
    if attempt != (fences[-1].attempt if fences else 0):
        raise ValueError(f"attempt {attempt} has no fence, or is not the last that has one")
    return Meta(
        id=stream_id,
        tenant=_text(raw, b"tenant"),
        status=_text(raw, b"status"),
        model=_text(raw, b"model"),
        attempt=attempt,
        nonce=_text(raw, b"nonce"),
        tail=_count(raw, b"tail"),
        folded=_count(raw, b"folded"),
        trimmed=_count(raw, b"trimmed"),
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
        excused=_number(raw, b"excused"),
    )


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


def _count(raw: Mapping[bytes, bytes], name: bytes) -> int:
    """A part of a position."""
    value = raw.get(name) or b"0"
    if not value.isdigit():
        raise ValueError(f"{name.decode()} is no number of units")
    return int(value)


def _json(raw: Mapping[bytes, bytes], name: bytes) -> dict[str, Any] | None:
    value = raw.get(name)
    return orjson.loads(value) if value else None
