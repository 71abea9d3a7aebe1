"""The capability of wires whose frames are numbered, for clients that come back with a number."""

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from services.edge.wires.wire import WireState
from shared.store.message import Assembled
from shared.store.state import Meta

__all__ = ("NumberedWire",)


@runtime_checkable
class NumberedWire(Protocol):
    """A wire that can leave out the frames a reader has been told, and ends with a word on the whole message.

    A number leads to a position of the log, from which its reader goes on, and to the frames after it that are to be
    left out. Only that reader's bytes are cut: what is shared, and the state, know nothing of it.
    """

    def told(self, payload: bytes, number: int) -> int:
        """Return the length of the frames at the beginning of a payload that end with this number or before it."""
        ...

    def restart(self, meta: Meta, state: WireState) -> bytes | None:
        """Return the bytes that tell a reader that the log has begun anew, and will be told from its start.

        None if that cannot be told after what made `state`: then it is a reset.
        """
        ...

    def conclusion(self, whole: Assembled, state: WireState) -> Iterable[bytes] | None:
        """Return the last frames of a stream that is over, one by one; None if that is not what made `state`."""
        ...
