"""The live readers of a stream on one channel, arranged so that a chunk for all of them touches little but the kernel.

Measured with 1,500 readers of one stream, in µs of this process for each of them: 5.0 in the order of a set, 4.3 in
the order in which they came, and 4.0 without a look at each reader object. A bare C `send()` costs 3.2 there: what is
left out is mostly memory that would have to be fetched, ours and the kernel's, which keeps sockets in that same order.
"""

import logging
from collections.abc import Set
from typing import NamedTuple, Protocol

from services.edge.carriers.carrier import Wrap
from services.edge.carriers.uvicorn_protocol import DirectSocket
from services.edge.wires.wire import Wire

__all__ = ("Channel", "LiveReader", "LiveReaders", "LiveTargets", "PendingWrites")

logger = logging.getLogger(__name__)


class Channel(NamedTuple):
    """A wire on a kind of carrier: readers that have both in common are written the same bytes."""

    wire: Wire
    wrap: Wrap


class LiveReader(Protocol):
    """A reader that takes a ready chunk now, and can be given up."""

    def write(self, chunked: bytes) -> DirectSocket | None:
        """Take a chunk. Answers a socket if nothing waits in front of it, so that the next may go there unasked."""
        ...

    def disconnect(self) -> None:
        """Could not be written to."""
        ...


class LiveReaders:
    """LiveTargets, and of each the socket that its next chunk may go to unasked."""

    __slots__ = ("_members", "_targets")

    def __init__(self) -> None:
        self._members: dict[LiveReader, DirectSocket | None] = {}
        self._targets: LiveTargets | None = None

    def __repr__(self) -> str:
        return f"<LiveReaders of {len(self._members)}>"

    def __contains__(self, reader: LiveReader) -> bool:
        return reader in self._members

    @property
    def members(self) -> Set[LiveReader]:
        return self._members.keys()

    def add(self, reader: LiveReader) -> None:
        """A new one is asked first: what it has been sent so far may still be on its way."""
        self._members[reader] = None
        self._rearrange()

    def discard(self, reader: LiveReader) -> None:
        if reader in self._members:
            del self._members[reader]
            self._rearrange()

    def targets(self) -> "LiveTargets":
        """Return the readers of a chunk that is there now, whatever happens to them until it is written."""
        if self._targets is None:
            self._targets = LiveTargets(self, self._members)
        return self._targets

    def write(self, reader: LiveReader, chunked: bytes) -> None:
        """Ask one reader to take a chunk, and remember where its next may go."""
        direct = None
        try:
            direct = reader.write(chunked)
        except Exception:  # whatever is wrong with one connection must not cost the others this chunk
            logger.exception("a reader could not be written to: %r", reader)
            reader.disconnect()
        if reader in self._members and self._members[reader] is not direct:
            self._members[reader] = direct
            self._rearrange()

    def _rearrange(self) -> None:
        if self._targets is not None:
            self._targets.is_past = True
            self._targets = None


class LiveTargets:
    """All live readers of a channel at one moment.

    Once it `is_past`, something may wait in front of a socket, so everybody is asked.
    """

    __slots__ = ("_asked", "_live_readers", "_owners", "_sends", "is_past", "number")

    def __init__(self, live: LiveReaders, members: dict[LiveReader, DirectSocket | None]) -> None:
        self._live_readers = live
        # Methods that are made together lie together.
        self._owners = {direct.send: reader for reader, direct in members.items() if direct is not None}
        self._sends = tuple(self._owners)
        self._asked = tuple([reader for reader, direct in members.items() if direct is None])
        self.number = len(members)
        self.is_past = False

    def __repr__(self) -> str:
        return f"<LiveTargets {len(self._sends)} unasked, {len(self._asked)} asked>"

    def write(self, chunked: bytes) -> None:
        if self.is_past:
            for reader in (*self._owners.values(), *self._asked):
                self._live_readers.write(reader, chunked)
            return
        size = len(chunked)
        for send in self._sends:
            try:
                sent = send(chunked)
            except OSError:
                sent = 0  # full, or broken: that is for its transport to find out
            if sent != size:
                self._live_readers.write(self._owners[send], chunked[sent:])
        for reader in self._asked:
            self._live_readers.write(reader, chunked)


class PendingWrites:
    """Chunks and whom they go to. Whoever fills it flushes it before anything else can run."""

    def __init__(self) -> None:
        self._chunks: list[tuple[bytes, LiveTargets]] = []

    def __repr__(self) -> str:
        return f"<PendingWrites {len(self._chunks)} chunks>"

    def add(self, chunked: bytes, targets: LiveTargets) -> None:
        self._chunks.append((chunked, targets))

    def flush(self) -> None:
        chunks, self._chunks = self._chunks, []
        for chunked, targets in chunks:
            targets.write(chunked)
