"""The edge's own messages to a reader: about the log, the connection, and its end. Typed, not the bytes of a wire."""

from dataclasses import dataclass
from typing import Any, ClassVar

from shared.log.lineage import ResetReason
from shared.log.position import EventId
from shared.store.state import Meta

__all__ = ("CaughtUp", "Gap", "Gone", "Heartbeat", "Notice", "Reconnect", "Reset", "Start")


@dataclass(frozen=True, slots=True)
class Start:
    """The first thing that a reader without a cursor is told, whatever has been folded since."""

    stream: str
    model: str
    status: str
    created_ms: int
    provider: str | None

    @classmethod
    def of(cls, meta: Meta) -> "Start":
        return cls(meta.id, meta.model, meta.status, meta.created_ms, meta.provider or None)


@dataclass(frozen=True, slots=True)
class Reset:
    """A replacement of all that the reader holds, which is not the log any more: these parts, up to `cursor`."""

    reason: ResetReason
    parts: list[dict[str, Any]]
    cursor: EventId


@dataclass(frozen=True, slots=True)
class Gap:
    """The log between two positions is left out, as it is gone or was not wanted; what follows goes on after it."""

    start: EventId
    end: EventId
    reason: str = "trimmed"


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """The reader holds all there is; what comes from now on is news. For those who ask for it."""

    cursor: EventId


@dataclass(frozen=True, slots=True)
class Reconnect:
    """This connection ends for reasons of the server's: come back with the last id."""

    retry_ms: int


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """Nothing has happened, and the connection is alive."""


@dataclass(frozen=True, slots=True)
class Gone:
    """The stream vanished from under its readers: deleted, evicted, or its Redis lost it."""

    code: ClassVar[str] = "stream_gone"
    message: ClassVar[str] = "The stream is gone from the store."


Notice = Start | Reset | Gap | CaughtUp | Reconnect | Heartbeat | Gone
