"""The arguments of a store's calls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, NamedTuple

from shared.log.events import Event

__all__ = ("Append", "Claim", "Compact", "Eviction", "Interruption", "LeaseRenewal", "NewStream", "Retention")


# With `…_or_fail` a new start that would take back what was said is a failure instead: for readers that cannot unsay.
Interruption = Literal["continue", "restart", "fail", "continue_or_fail", "restart_or_fail"]


Eviction = Literal["expired", "evicted"]


@dataclass(frozen=True, slots=True)
class Retention:
    """The life of keys: `live_ms` beyond the last heartbeat, `retain_ms` after the end, a tombstone longer still."""

    live_ms: int
    retain_ms: int
    tombstone_ms: int


@dataclass(frozen=True, slots=True)
class NewStream:
    """A stream to be created. `request` is the body for the provider; it is kept apart and dropped at the end."""

    id: str
    tenant: str
    model: str
    request: bytes = field(repr=False)
    digest: str = ""
    metadata: bytes = field(default=b"{}", repr=False)
    interruption: Interruption | None = None
    dispatch_ms: int = 30_000


@dataclass(frozen=True, slots=True)
class Claim:
    """Become the writer. `holder` is the caller's own nonce when it takes over from itself."""

    nonce: str
    worker: str
    lease_ms: int
    mode: Literal["continue", "restart"] = "restart"
    reason: str = "start"
    holder: str = ""
    max_attempts: int = 3


class Append(NamedTuple):
    """Add `events` if the log still ends at `tail`. `safe` is the end of the last part that a fence may keep.

    `updates` go into meta in the same step. At most one event is terminal, and it is the last. One is made for almost
    each chunk of a provider: 0.3 µs, and 0.9 for a frozen dataclass of six fields.
    """

    id: str
    nonce: str
    tail: int
    events: Sequence[Event]
    safe: int
    updates: Mapping[str, str | int | bytes] = MappingProxyType({})

    def __repr__(self) -> str:
        return f"Append(id={self.id!r}, nonce={self.nonce!r}, tail={self.tail}, safe={self.safe})"


@dataclass(frozen=True, slots=True)
class LeaseRenewal:
    """A sign of life from the writer: renews the lease and every expiry of the stream."""

    id: str
    nonce: str
    lease_ms: int


@dataclass(frozen=True, slots=True)
class Compact:
    """Fold the oldest entries into a block of at most `block_bytes`, then trim what is over `max_bytes`.

    A live stream is folded by its writer (`nonce`), a finished one by anybody (no nonce). One call does a bounded
    amount of work; `Compacted.more` says that there is more to fold.
    """

    id: str
    nonce: str = ""
    block_bytes: int = 1_000_000
    max_bytes: int = 50 * 1024 * 1024
