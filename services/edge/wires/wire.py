"""How events look on a connection. A wire only frames; it never decides what is sent."""

from typing import Protocol

from shared.log.page import DeltaPage

__all__ = ("Wire",)


class Wire(Protocol):
    """A framing of events. `data` is one line of JSON that begins with its type."""

    name: str
    media_type: str
    heartbeat: bytes

    def frame(self, event_id: str | None, data: bytes) -> bytes:
        """One event. Synthesized events may have no id; then the reader's cursor stays where it is."""
        ...

    def deltas(self, page: DeltaPage, nonce: bytes) -> bytes:
        """The frames of a page, as `frame` makes them of its entries one by one, for a third of the time."""
        ...

    def opening(self, retry_ms: int) -> bytes:
        """What a connection begins with, before any event."""
        ...
