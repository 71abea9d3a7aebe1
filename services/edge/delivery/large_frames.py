"""Frames of folded blocks: too large for each reader that takes its time to hold one of its own."""

from collections import OrderedDict
from typing import Final, NamedTuple

__all__ = ("FrameName", "LargeFrames")

# Of what the edge may keep for all streams.
_SHARE: Final = 8


class FrameName(NamedTuple):
    """The event of a stream from one offset to the event id `end`, as a wire frames it."""

    stream_id: str
    start: int
    end: str
    wire: str


class LargeFrames:
    """The frames that were sent of last, within a bound. Whoever finds its frame gone makes it again from the log."""

    def __init__(self, *, buffer_bytes: int) -> None:
        self._most_bytes = buffer_bytes // _SHARE
        self._frames: OrderedDict[FrameName, bytes] = OrderedDict()
        self.kept_bytes = 0

    def __repr__(self) -> str:
        return f"<LargeFrames {len(self._frames)} of {self.kept_bytes} bytes>"

    def find(self, name: FrameName) -> bytes | None:
        frame = self._frames.get(name)
        if frame is not None:
            self._frames.move_to_end(name)
        return frame

    def keep(self, name: FrameName, frame: bytes) -> None:
        self._drop(name)
        self._frames[name] = frame
        self.kept_bytes += len(frame)
        while self.kept_bytes > self._most_bytes:
            self._drop(next(iter(self._frames)))

    def _drop(self, name: FrameName) -> None:
        self.kept_bytes -= len(self._frames.pop(name, b""))
