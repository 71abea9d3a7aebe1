"""The writing end of one attempt: what has been produced, what the log has acknowledged, and what to send next.

Pure state: nothing here awaits except `room` and `flushed`. Appends are compare-and-append, so a lost reply is resolved
by asking again: the answer says where the log really ends.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import accumulate
from typing import Any

from shared.errors import StoreError
from shared.log.events import ASIDE_KINDS, DELTA_KINDS, MAX_EVENT_BYTES, Event
from shared.store.calls import Append
from shared.store.replies import Appended, AppendReply, Closed, Fenced, Gone, TailMismatch

__all__ = ("Lapsed", "Lost", "StoreStalled", "Writer", "safe_after")

# Acknowledged events kept for repair, should a failover lose the end of the log.
_RING_BYTES = 256 * 1024


class Lost(Exception):
    """The stream is not ours any more: somebody else has it, it has ended, it is gone, or its log is beyond repair."""

    def __init__(self, reply: Fenced | Closed | Gone | TailMismatch) -> None:
        self.reply = reply
        super().__init__(reply)


class Lapsed(Lost):
    """The store was not heard of in time to renew the lease, so somebody else may have the stream by now, or nobody."""


class StoreStalled(Exception):
    """The store has refused our appends for longer than the setting allows."""


# An acknowledged event: where it ends, what was safe before it, and itself. One for each chunk of a provider.
_Written = tuple[int, int, Event]


class Writer:
    """One attempt at one stream. `notify` tells the appender that there is something to send.

    `usage` is what the provider has reported for this attempt.
    """

    def __init__(
        self, stream_id: str, *, attempt: int, nonce: str, tail: int, max_bytes: int, notify: Callable[["Writer"], None]
    ) -> None:
        self.id = stream_id
        self.attempt = attempt
        self.nonce = nonce
        self.tail = tail
        self.usage: dict[str, Any] = {}
        self.failing_since: float | None = None
        self.is_cancelling = False
        # The compactor's: bytes that it could not fold when it last looked, and the end of what has been trimmed.
        self.unfoldable_bytes = 0
        self.trimmed = 0
        self._max_bytes = max_bytes
        self._notify = notify
        self._pending: list[Event] = []
        self._pending_bytes = 0
        self._in_flight: Sequence[Event] = ()
        self._end_in_flight = self._safe_in_flight = tail
        self._ring: deque[_Written] = deque()
        self._ring_bytes = 0
        self._safe = tail
        self._produced = tail
        self._updates: dict[str, str | int | bytes] = {}
        self._updates_in_flight: dict[str, str | int | bytes] = {}
        self._failure: Exception | None = None
        self._on_stop: Callable[[], None] | None = None
        self._settled = asyncio.Event()

    def __repr__(self) -> str:
        return f"<Writer {self.id[:8]}… attempt {self.attempt} at {self.tail} pending={len(self._pending)}>"

    # For the pump

    @property
    def buffered_bytes(self) -> int:
        """Text that the store has not acknowledged."""
        return self._pending_bytes

    @property
    def has_room(self) -> bool:
        return self._pending_bytes <= self._max_bytes

    @property
    def produced(self) -> int:
        """The end of what was added, acknowledged or not."""
        return self._produced

    @property
    def is_stopped(self) -> bool:
        """Return whether producing more makes no sense: cancelled, or lost."""
        return self.is_cancelling or self._failure is not None

    def on_stop(self, call: Callable[[], None] | None) -> None:
        """Set the callback for the moment the stream is to stop."""
        self._on_stop = call

    def add(self, events: Sequence[Event]) -> bool:
        """Take what was produced; it goes out as soon as the append before it is answered. Answers `has_room`."""
        for _, value, size in events:
            self._pending_bytes += len(value)
            self._produced += size
        self._pending += events
        self._notify(self)
        return self.has_room

    def note(self, updates: Mapping[str, str | int | bytes]) -> None:
        """Fields of meta that go along with the next append."""
        self._updates |= updates

    async def room(self) -> None:
        """Wait until the store has caught up, so that a fast provider is held by its own socket."""
        while not self.has_room:
            await self._next_settlement()

    async def flushed(self) -> None:
        """Wait until everything is acknowledged. Raises `Lost`, `StoreStalled` or the store's refusal."""
        while self._pending or self._in_flight:
            await self._next_settlement()
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """The stream was cancelled: end it."""
        if not self.is_cancelling:
            self.is_cancelling = True
            self._stopped()

    def fail(self, failure: Exception) -> None:
        """Nothing more can be written: lost, self-fenced or stalled."""
        if self._failure is None:
            self._failure = failure
            self._pending.clear()
            self._pending_bytes = 0
            self._in_flight = ()
            self._settled.set()
            self._stopped()

    @property
    def has_ended(self) -> bool:
        """Return whether the store has acknowledged the terminal event."""
        return bool(self._ring) and self._ring[-1][2].is_terminal and not self._in_flight

    @property
    def kept_bytes(self) -> int:
        """The bytes that are retained for repair."""
        return self._ring_bytes

    def end_again(self) -> None:
        """Write the ending once more, because the store has lost it in a failover: the answer stands here still."""
        if self._failure is not None or not self.has_ended:
            return
        end, self._safe, ending = self._ring.pop()
        self._ring_bytes -= len(ending.value)
        self._pending_bytes += len(ending.value)
        self.tail = end - ending.size
        # What meta was to be told with it is in flight still: nothing has followed it.
        self._send_next([ending])
        self._notify(self)

    # For the appender

    @property
    def has_work(self) -> bool:
        return bool(self._pending or self._in_flight) and self._failure is None

    def next_append(self) -> Append | None:
        """Return the next append, if any: again what was not answered, else all that is pending, deltas merged."""
        if self._failure is not None:
            return None  # it may be given more before its provider is told; that would follow a hole
        if not self._in_flight:
            if not self._pending:
                return None
            self._send_next(_merged(self._pending) if len(self._pending) > 1 else self._pending)
            self._pending = []
            if self._updates or self._updates_in_flight:
                self._updates_in_flight, self._updates = self._updates, {}
        return Append(self.id, self.nonce, self.tail, self._in_flight, self._safe_in_flight, self._updates_in_flight)

    def settle(self, reply: AppendReply | Exception) -> None:
        """Take the answer to `next_append`. A refusal that may pass leaves it in flight, to be sent again."""
        if self._failure is not None:
            return  # given up while the append was under way; whatever it did, the next claim will see
        if isinstance(reply, Appended):
            self._acknowledge(reply.tail)
            if reply.cancelling:
                self.stop()
        else:
            self._heed(reply)
        self._settled.set()

    def _heed(self, reply: AppendReply | Exception) -> None:
        match reply:
            case TailMismatch(tail):
                self._reconcile(tail)
            case Closed(_, tail) if tail == self._end_in_flight and self._in_flight[-1].is_terminal:
                self._acknowledge(tail)  # our own ending, whose reply was lost
            case Fenced() | Closed() | Gone():
                self.fail(Lost(reply))
            case StoreError(retryable=True):
                pass
            case Exception():
                self.fail(reply)

    def _send_next(self, events: Sequence[Event]) -> None:
        self._in_flight = events
        if len(events) == 1 and events[0].kind in DELTA_KINDS:
            self._end_in_flight = self._safe_in_flight = self.tail + events[0].size
            return
        self._end_in_flight = self.tail + sum([event.size for event in events])
        self._safe_in_flight = safe_after(events, self.tail, self._safe)

    def _acknowledge(self, tail: int) -> None:
        if tail != self._end_in_flight:
            raise RuntimeError(f"the log ends at {tail}, not at {self._end_in_flight}: the store broke its contract")
        end, safe = self.tail, self._safe
        for event in self._in_flight:
            before, end = end, end + event.size
            self._ring.append((end, safe, event))
            safe = end if event.kind in DELTA_KINDS else safe_after((event,), before, safe)
            self._pending_bytes -= len(event.value)
            self._ring_bytes += len(event.value)
        if self._ring_bytes > _RING_BYTES:
            self._forget_oldest()
        self.tail, self._safe = end, safe
        self._in_flight = ()
        self.failing_since = None

    def _reconcile(self, tail: int) -> None:
        """The log does not end where we thought: our last append did arrive, or a failover lost the end."""
        if self._in_flight and tail == self._end_in_flight:
            self._acknowledge(tail)
            return
        if arrived := self._arrived(tail):
            rest, self._in_flight, self._end_in_flight = self._in_flight[arrived:], self._in_flight[:arrived], tail
            self._acknowledge(tail)
            self._send_next(rest)
            return
        lost = [written for written in self._ring if written[0] > tail]
        events = [event for _, _, event in lost]
        if not lost or sum(event.size for event in events) != self.tail - tail:
            self.fail(Lost(TailMismatch(tail)))
            return
        # Same bytes, same sizes, hence the same ids: readers that had them notice nothing.
        for event in events:
            self._ring.pop()
            self._ring_bytes -= len(event.value)
            self._pending_bytes += len(event.value)
        _, self._safe, _ = lost[0]
        self.tail = tail
        self._send_next([*events, *self._in_flight])

    def _arrived(self, tail: int) -> int:
        """Return how many events in flight end at `tail`: all of the append was written, and its last part was lost."""
        ends = list(accumulate((event.size for event in self._in_flight), initial=self.tail))
        return ends.index(tail) if tail in ends else 0

    def _forget_oldest(self) -> None:
        while self._ring_bytes > _RING_BYTES and len(self._ring) > 1:
            _, _, event = self._ring.popleft()
            self._ring_bytes -= len(event.value)

    async def _next_settlement(self) -> None:
        if self._failure is None:
            self._settled.clear()
            await self._settled.wait()
        if self._failure is not None:
            raise self._failure

    def _stopped(self) -> None:
        if self._on_stop is not None:
            self._on_stop()


def safe_after(events: Sequence[Event], tail: int, safe: int) -> int:
    """The end of the last complete part. Inside a tool call nothing is safe: nobody could finish its arguments."""
    for event in events:
        if event.kind == "tool_call":
            if "id" in event.fields():
                safe = tail  # another call begins, so whatever came before is complete
        elif event.kind not in ASIDE_KINDS or safe == tail:  # what is said amid a call does not complete it
            safe = tail + event.size
        tail += event.size
    return safe


def _merged(events: Sequence[Event]) -> list[Event]:
    """Adjacent deltas of one kind as one event, up to the size an event may have."""
    merged: list[Event] = []
    run: list[Event] = []
    size = 0
    for event in events:
        if run and (event.kind != run[0].kind or size + event.size > MAX_EVENT_BYTES):
            merged.append(_joined(run, size))
            run, size = [], 0
        if event.kind in DELTA_KINDS:
            run.append(event)
            size += event.size
        else:
            merged.append(event)
    if run:
        merged.append(_joined(run, size))
    return merged


def _joined(run: Sequence[Event], size: int) -> Event:
    if len(run) == 1:
        return run[0]
    return Event(run[0].kind, b"".join([event.value for event in run]), size)
