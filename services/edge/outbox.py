"""What one read of the tail brings to live readers, handed to the kernel in one go.

A send between two pieces of other work costs more than a send after a send: what the kernel needs has left the caches,
and a reader on this machine that has caught up has to be woken each time.
"""

import logging
from collections.abc import Collection
from typing import Protocol

from services.edge.protocol import DirectSend

__all__ = ("Outbox", "Recipient")

logger = logging.getLogger(__name__)


class Recipient(Protocol):
    """Whoever takes a ready chunk now, and can be given up.

    `direct_send` is the socket's own while nothing waits in front of it, so that a chunk may go there without asking;
    else `write` decides.
    """

    direct_send: DirectSend | None

    def write(self, chunked: bytes) -> None: ...

    def disconnect(self) -> None: ...


class Outbox:
    """Chunks and whom they go to. Whoever fills it flushes it before anything else can run."""

    def __init__(self) -> None:
        self._chunks: list[tuple[bytes, Collection[Recipient]]] = []

    def __repr__(self) -> str:
        return f"<Outbox {len(self._chunks)} chunks>"

    def add(self, chunked: bytes, recipients: Collection[Recipient]) -> None:
        self._chunks.append((chunked, recipients))

    def flush(self) -> None:
        chunks, self._chunks = self._chunks, []
        for chunked, recipients in chunks:
            size = len(chunked)
            for recipient in recipients:
                sent, direct_send = 0, recipient.direct_send
                if direct_send is not None:
                    try:
                        sent = direct_send(chunked)
                    except OSError:
                        sent = 0  # full, or broken: that is for its transport to find out
                    if sent == size:
                        continue
                _write(recipient, chunked[sent:])


def _write(recipient: Recipient, rest: bytes) -> None:
    try:
        recipient.write(rest)
    except Exception:  # whatever is wrong with one connection must not cost the others this chunk
        logger.exception("a reader could not be written to: %r", recipient)
        recipient.disconnect()
