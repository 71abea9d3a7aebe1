"""The next bytes for a reader, cut in pieces."""

from dataclasses import dataclass
from typing import Final

from services.edge.carriers.carrier import Carrier
from services.edge.delivery.batch import Batch
from services.edge.wires.wire import Wire, WireState
from shared.log.position import EventId

__all__ = ("PAGE_BYTES", "WRITE_BYTES", "Parcel", "send_in_pieces")

# What is sent of one page, and in one write: as much can a reader that has stopped reading hold up, beside what the
# transport takes before it says that it is full, which is 64 KB and a write.
PAGE_BYTES: Final = 64 * 1024
WRITE_BYTES: Final = 16 * 1024


@dataclass(slots=True)
class Parcel:
    """Framed events, and what goes with them: a reader that takes its time holds no more than this.

    `state` is the wire's before them, `state_after` the one behind them.
    """

    payload: bytes
    start: EventId
    end: EventId
    events: int
    is_last: bool
    state: WireState
    state_after: WireState

    @classmethod
    def of(cls, batch: Batch, start: EventId, wire: Wire, state: WireState, *, known: bytes | None = None) -> "Parcel":
        """The batch, or what of it can be sent at once. Its frames may be `known` already."""
        payload = known or batch.frames(wire, state)
        while len(payload) > 2 * PAGE_BYTES and batch.events > 1:
            batch = batch.first_half()  # JSON can be six times as long as the text
            payload = batch.frames(wire, state)
        after = None if state is None else wire.after(state, batch.entries)
        return cls(payload, start, batch.cursor, batch.events, batch.is_last, state, after)

    @property
    def is_large(self) -> bool:
        """Return whether it is one event of a folded block, which can be as long as the message."""
        return self.events == 1 and len(self.payload) > PAGE_BYTES

    def take(self) -> bytes:
        """The payload, which the parcel does not hold any longer."""
        payload, self.payload = self.payload, b""
        return payload


async def send_in_pieces(carrier: Carrier, payload: bytes) -> None:
    for start in range(0, len(payload), WRITE_BYTES):
        await carrier.send(payload[start : start + WRITE_BYTES])
