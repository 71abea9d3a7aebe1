"""The form of a stream on a connection. A wire makes bytes of what it is given; it never decides what is sent.

It knows no carrier: how its payloads are wrapped for a connection is not its business.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from services.edge.wires.notices import Notice
from shared.log.events import LogEntry
from shared.log.page import DeltaPage
from shared.store.state import Meta

__all__ = ("Stateless", "Unsayable", "Wire", "WireState", "one_by_one")

# What a wire knows of the log before an event: open parts, calls that were counted, the stream's own words. It is
# immutable, only its wire looks inside, and it is None for wires whose frames depend on nothing but their event.
WireState = Any


class Unsayable(Exception):
    """No words of the wire could tell its clients this: they are cut off, as an end would be the end to them."""


class Wire(Protocol):
    """A format of streams. All its readers of one stream share its payloads.

    So a payload depends on the log alone: on the events in it, and on the state, which is a pure function of the log
    before them (`begin`, then `after`), never on who reads, since when, or in what pieces.

    `name` is what `?wire=` and the metrics call it, `media_type` the content type of a response, and `accepts` are the
    media types in an `Accept` that choose it. `example` is an event, for the description of the API. After a notice of
    a `final` kind nothing can follow, and the response ends. `headers` go with every response, beside the content type.
    A wire `retires` unless its clients cannot come back: then its readers outlive the maximum age of a connection, and
    may finish while the edge drains.
    """

    name: str
    media_type: str
    accepts: tuple[str, ...]
    example: str
    final: frozenset[type[Notice]]
    has_state: bool
    headers: tuple[tuple[bytes, bytes], ...]
    retires: bool

    def deltas(self, page: DeltaPage, nonce: bytes, state: WireState) -> bytes:
        """The frames of a page of one attempt, as `frame` makes them: for a third of the time, or by `one_by_one`."""
        ...

    def begin(self, meta: Meta) -> WireState:
        """The state before the first event of a stream."""
        ...

    def after(self, state: WireState, entries: Sequence[LogEntry]) -> WireState:
        """The state after these entries, which follow what made `state`. Not called without a state."""
        ...

    def opening(self, retry_ms: int) -> bytes:
        """Return the first bytes of a connection, before any event; a reader without a cursor then gets a `Start`."""
        ...

    def frame(self, event_id: str, entry: LogEntry, state: WireState) -> bytes:
        """One event of the log, after what made `state`; nothing if this wire has no words for it."""
        ...

    def notice(self, notice: Notice, state: WireState) -> bytes:
        """Return the bytes of one of the edge's own messages, errors too; none if this wire has no form for it.

        It may come before the state is known, which is None then. Raises `Unsayable` for one of a final kind that must
        not look like an end.
        """
        ...

    def closing(self, state: WireState) -> bytes:
        """Return the bytes that end a response after the last event of its stream."""
        ...


class Stateless:
    """The part of a wire whose frames depend on nothing but their event."""

    has_state = False
    headers: tuple[tuple[bytes, bytes], ...] = ()

    def begin(self, meta: Meta) -> WireState:
        return None

    def after(self, state: WireState, entries: Sequence[LogEntry]) -> WireState:
        return None

    def closing(self, state: WireState) -> bytes:
        return b""


def one_by_one(wire: Wire, page: DeltaPage, nonce: bytes, state: WireState) -> bytes:
    """The frames of a page, for wires that know no faster way."""
    frames = []
    for entry in page:
        frames.append(wire.frame(f"{entry.position}.{nonce.decode()}", entry, state))
        state = wire.after(state, (entry,)) if wire.has_state else None
    return b"".join(frames)
