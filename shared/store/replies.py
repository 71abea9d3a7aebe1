"""Every answer of a store to a call that changes something."""

from dataclasses import dataclass, field

__all__ = (
    "AppendReply",
    "Appended",
    "Beating",
    "CancelReply",
    "Cancelling",
    "ClaimReply",
    "Claimed",
    "Closed",
    "CompactReply",
    "Compacted",
    "CreateReply",
    "Created",
    "Deleted",
    "Ended",
    "EvictReply",
    "Evicted",
    "Exhausted",
    "Exists",
    "Fenced",
    "FinishReply",
    "Gone",
    "Held",
    "Live",
    "RenewalReply",
    "Stale",
    "TailMismatch",
)


@dataclass(frozen=True, slots=True)
class Created:
    created_ms: int


@dataclass(frozen=True, slots=True)
class Exists:
    """The id is taken: by the same tenant's idempotent request (compare `digest`), or by chance."""

    digest: str
    status: str
    tenant: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """The caller is the writer now. The log ends at `keep`; `request` is what to send to the provider."""

    attempt: int
    keep: int
    request: bytes = field(repr=False)
    cancelling: bool = False
    interruption: str = ""


@dataclass(frozen=True, slots=True)
class Held:
    """Somebody else's lease runs until `until_ms`."""

    until_ms: int


@dataclass(frozen=True, slots=True)
class Exhausted:
    """The stream has used up its attempts."""

    attempt: int


@dataclass(slots=True)
class Appended:
    """Done: the log ends at `tail`. `cancelling` asks the writer to stop; `bytes` is what the stream holds.

    `unfolded` of these bytes are single entries: what a compaction could make smaller. Neither is told each time, but
    before there is half a KiB more of either. Not frozen, because one is made for almost each chunk of a provider:
    0.15 µs, and 0.5 for a frozen one.
    """

    tail: int
    cancelling: bool = False
    bytes: int | None = None
    unfolded: int | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class TailMismatch:
    """Nothing was written: the log ends at `tail`."""

    tail: int


@dataclass(frozen=True, slots=True)
class Fenced:
    """Nothing was written: attempt number `attempt` has taken over."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Closed:
    """Nothing was written: the stream ended as `status`, at `tail`."""

    status: str
    tail: int


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing was written: the stream has expired, was deleted, or never was."""


@dataclass(frozen=True, slots=True)
class Beating:
    cancelling: bool


@dataclass(frozen=True, slots=True)
class Cancelling:
    """A live writer was asked to stop; it will end the stream."""


@dataclass(frozen=True, slots=True)
class Ended:
    """The stream was ended by the call itself, because nobody was writing it."""

    attempt: int
    tail: int


@dataclass(frozen=True, slots=True)
class Stale:
    """Nothing was done: the call was aimed at an attempt that is not the current one."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Deleted:
    pass


@dataclass(frozen=True, slots=True)
class Compacted:
    """Done: blocks reach up to `folded`, nothing before `trimmed` is left, the stream holds `bytes`."""

    folded: int
    trimmed: int
    bytes: int
    unfolded: int
    more: bool


@dataclass(frozen=True, slots=True)
class Evicted:
    """The stream is gone, and with it `bytes` of the sums."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Live:
    """Nothing was done: the stream is being written, or its time is not up."""


CreateReply = Created | Exists | Gone


ClaimReply = Claimed | Held | Exhausted | Closed | Gone


AppendReply = Appended | TailMismatch | Fenced | Closed | Gone


RenewalReply = Beating | Fenced | Closed | Gone


CancelReply = Cancelling | Ended | Closed | Stale | Gone


FinishReply = Ended | Held | Closed | Gone


CompactReply = Compacted | Fenced | Closed | Gone


EvictReply = Evicted | Live | Gone
