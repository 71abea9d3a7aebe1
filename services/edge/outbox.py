"""What one read of the tail brings to live readers, handed to the kernel in one go.

A send between two pieces of other work costs more than a send after a send: what the kernel needs has left the caches,
and a reader on this machine that has caught up has to be woken each time.
"""

from services.edge.audience import Recipients

__all__ = ("Outbox",)


class Outbox:
    """Chunks and whom they go to. Whoever fills it flushes it before anything else can run."""

    def __init__(self) -> None:
        self._chunks: list[tuple[bytes, Recipients]] = []

    def __repr__(self) -> str:
        return f"<Outbox {len(self._chunks)} chunks>"

    def add(self, chunked: bytes, recipients: Recipients) -> None:
        self._chunks.append((chunked, recipients))

    def flush(self) -> None:
        chunks, self._chunks = self._chunks, []
        for chunked, recipients in chunks:
            recipients.write(chunked)
