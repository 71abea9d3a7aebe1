"""The live readers of a stream on one wire, arranged so that a chunk for all of them touches little but the kernel.

Measured with 1,500 readers of one stream, in µs of this process for each of them: 5.0 in the order of a set, 4.3 in
the order in which they came, and 4.0 without a look at each reader object. A bare C `send()` costs 3.2 there: what is
left out is mostly memory that would have to be fetched, ours and the kernel's, which keeps sockets in that same order.
"""

import logging
from collections.abc import Set
from typing import Protocol

from services.edge.protocol import DirectSocket

__all__ = ("Audience", "Recipient", "Recipients")

logger = logging.getLogger(__name__)


class Recipient(Protocol):
    """Whoever takes a ready chunk now, and can be given up."""

    def write(self, chunked: bytes) -> DirectSocket | None:
        """Take a chunk. Answers a socket if nothing waits in front of it, so that the next may go there unasked."""
        ...

    def disconnect(self) -> None:
        """Could not be written to."""
        ...


class Audience:
    """Recipients, and of each the socket that its next chunk may go to unasked."""

    __slots__ = ("_members", "_recipients")

    def __init__(self) -> None:
        self._members: dict[Recipient, DirectSocket | None] = {}
        self._recipients: Recipients | None = None

    def __repr__(self) -> str:
        return f"<Audience of {len(self._members)}>"

    def __contains__(self, recipient: Recipient) -> bool:
        return recipient in self._members

    @property
    def members(self) -> Set[Recipient]:
        return self._members.keys()

    def add(self, recipient: Recipient) -> None:
        """A new one is asked first: what it has been sent so far may still be on its way."""
        self._members[recipient] = None
        self._rearrange()

    def discard(self, recipient: Recipient) -> None:
        if recipient in self._members:
            del self._members[recipient]
            self._rearrange()

    def recipients(self) -> "Recipients":
        """Who gets a chunk that is there now, whatever happens to them until it is written."""
        if self._recipients is None:
            self._recipients = Recipients(self, self._members)
        return self._recipients

    def write(self, recipient: Recipient, chunked: bytes) -> None:
        """Ask one recipient to take a chunk, and remember where its next may go."""
        direct = None
        try:
            direct = recipient.write(chunked)
        except Exception:  # whatever is wrong with one connection must not cost the others this chunk
            logger.exception("a reader could not be written to: %r", recipient)
            recipient.disconnect()
        if recipient in self._members and self._members[recipient] is not direct:
            self._members[recipient] = direct
            self._rearrange()

    def _rearrange(self) -> None:
        if self._recipients is not None:
            self._recipients.is_past = True
            self._recipients = None


class Recipients:
    """An audience at one moment. Once it `is_past`, something may wait in front of a socket, so everybody is asked."""

    __slots__ = ("_asked", "_audience", "_owners", "_sends", "is_past", "number")

    def __init__(self, audience: Audience, members: dict[Recipient, DirectSocket | None]) -> None:
        self._audience = audience
        # Methods that are made together lie together.
        self._owners = {direct.send: recipient for recipient, direct in members.items() if direct is not None}
        self._sends = tuple(self._owners)
        self._asked = tuple([recipient for recipient, direct in members.items() if direct is None])
        self.number = len(members)
        self.is_past = False

    def __repr__(self) -> str:
        return f"<Recipients {len(self._sends)} unasked, {len(self._asked)} asked>"

    def write(self, chunked: bytes) -> None:
        if self.is_past:
            for recipient in (*self._owners.values(), *self._asked):
                self._audience.write(recipient, chunked)
            return
        size = len(chunked)
        for send in self._sends:
            try:
                sent = send(chunked)
            except OSError:
                sent = 0  # full, or broken: that is for its transport to find out
            if sent != size:
                self._audience.write(self._owners[send], chunked[sent:])
        for recipient in self._asked:
            self._audience.write(recipient, chunked)
