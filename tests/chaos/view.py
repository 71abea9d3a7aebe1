"""One reader as the checker follows it: what it holds after each event, and what it must not be sent next."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.chaos.log import FinalLog, Place, place
from tests.chaos.oracle import Oracle
from tests.chaos.transcript import CONTENT, TERMINAL, Transcript, rebuilt, size_of
from tests.chaos.violation import Violation
from tests.support.history import Left, Opened, Received, Refused, Struck

__all__ = ("Known", "ReaderView")

# An edge may still hand on what it read before a fence, or from the master of before.
_HELD_BACK_NS = 5_000_000_000
# What Redis acknowledged this long before a failover has reached the replica.
_LAG_NS = 1_000_000_000


@dataclass(slots=True)
class Known:
    """What the readers of one stream share. `names` says what each event id stood for when it was first seen."""

    log: FinalLog
    oracle: Oracle
    others: Sequence[Oracle] = ()
    asked_ns: int = 0
    may_be_gone: bool = False
    evicted_ns: int | None = None
    is_over: bool = False
    lossy: Sequence[Struck] = ()
    full: Sequence[Struck] = ()
    names: dict[str, tuple[tuple[str, ...], Received]] = field(default_factory=dict)
    attempts: dict[int, Received] = field(default_factory=dict)

    def may_be_lost_at(self, at_ns: int) -> bool:
        """Whether a reader can honestly have been told by then that the stream is gone.

        One that is there in the end was never lost; but while there are two masters, an edge may ask the wrong one.
        """
        if self.log.exists:
            return any(each.began_ns <= at_ns <= each.at_ns + _HELD_BACK_NS for each in self.lossy)
        return any(each.began_ns <= at_ns for each in self.takers())

    def takers(self) -> Sequence[Struck]:
        """The failovers that can have taken a whole stream: it may have been made before they were over."""
        return [each for each in self.lossy if each.at_ns >= self.asked_ns]

    def may_lose_what_was_read_at(self, at_ns: int) -> bool:
        """Whether a failover can have taken what a reader was sent then: it was not yet replicated, or came late."""
        return any(each.began_ns - _LAG_NS <= at_ns <= each.at_ns + _HELD_BACK_NS for each in self.lossy)

    def was_evicted_by(self, at_ns: int) -> bool:
        return self.evicted_ns is not None and self.evicted_ns <= at_ns + _LAG_NS

    def eviction(self) -> Iterator[Violation]:
        """Only what is over may be evicted, and only when Redis is full."""
        at_ns = self.evicted_ns or 0
        if not any(each.began_ns <= at_ns <= each.at_ns + _HELD_BACK_NS for each in self.full):
            yield Violation(6, "the stream was evicted, and there was room", None, self.log.record)
        if not self.is_over:
            yield Violation(6, "the stream was evicted, and no reader had seen its end", None, self.log.record)


class ReaderView:
    """Takes the records of one reader in order, and answers each with the promises that it breaks."""

    def __init__(self, name: str, known: Known) -> None:
        self.name = name
        self.outcome: str | None = None
        self._known = known
        self._last: Received | None = None
        self._ending: Received | None = None
        self._begin()

    def __repr__(self) -> str:
        return f"<ReaderView {self.name} at {self._offset}>"

    @property
    def last(self) -> Received | None:
        return self._last

    def opened(self, record: Opened) -> Iterator[Violation]:
        if self._ending is not None:
            yield Violation(5, "a reader had to come back after the end", self._ending, record)
        if record.cursor is None:
            self._begin()

    def refused(self, record: Refused) -> Iterator[Violation]:
        if record.status in {404, 410}:
            yield from self._gone(record)
        elif record.status < 500:
            yield Violation(1, f"a good reader was refused: {record.status} {record.code}", self._last, record)
        elif record.status == 500:
            yield Violation(1, "an edge failed inside", self._last, record)

    def received(self, record: Received) -> Iterator[Violation]:
        kind = record.data["type"]
        if self._ending is not None and kind not in {"heartbeat", "reconnect"}:
            yield Violation(5, f"{kind} after the end", self._ending, record)
        take = _SPECIAL.get(kind, ReaderView._event)
        if kind == "error" and record.id is None:
            take = ReaderView._vanished
        yield from take(self, record)

    def left(self, record: Left) -> Iterator[Violation]:
        self.outcome = record.outcome
        ended = self._ending.data["type"] if self._ending else None
        if record.outcome == "gone":
            return
        if ended is None or record.outcome != ended:
            yield Violation(
                12, f"a reader left with {record.outcome!r}, its last word being {ended}", self._last, record
            )
            return
        yield from self._words(record, is_whole=ended == "done")
        yield from self._kept_at_the_end(record)

    # One method a kind of event

    def _event(self, record: Received) -> Iterator[Violation]:
        where = place(record.id or "")
        if where is None:
            yield Violation(1, f"{record.data['type']} without a proper id", self._last, record)
            return
        yield from self._order(where, record)
        yield from self._replaced(where, record)
        if record.data["type"] in CONTENT:
            self._transcript.add(record.data)
        self._move(where, record)
        yield from self._name(record)
        if record.data["type"] in TERMINAL:
            self._ending, self._known.is_over = record, True

    def _reset(self, record: Received) -> Iterator[Violation]:
        yield from self._words(record, is_whole=False)
        where = place(record.id) if record.id else None
        self._begin()
        self._transcript = rebuilt(record.data["parts"])
        if where is not None:
            self._move(where, record)
            yield from self._name(record)
        elif self._transcript.written:
            yield Violation(1, "a reset with content, but without an id to go on from", self._last, record)
        self._last = record

    def _gap(self, record: Received) -> Iterator[Violation]:
        where = place(record.id or "")
        if where is None or where.offset <= self._offset:
            yield Violation(1, "a gap that leads nowhere", self._last, record)
            return
        if self._known.log.exists and not self._known.log.was_trimmed_at(where):
            yield Violation(6, "a gap where nothing was trimmed", self._last, record)
        self._has_gap = True
        self._move(where, record)

    def _vanished(self, record: Received) -> Iterator[Violation]:
        if record.data.get("code") != "stream_gone":
            yield Violation(5, "an end without an id", self._last, record)
        yield from self._gone(record)

    def _nothing(self, record: Received) -> Iterator[Violation]:
        yield from ()

    # What is asked of an event

    def _order(self, where: Place, record: Received) -> Iterator[Violation]:
        start = where.offset - size_of(record.data)
        if start != self._offset:
            said = "something is missing" if start > self._offset else "something comes twice"
            yield Violation(1, f"{said}: {start} instead of {self._offset}", self._last, record)
        before = self._place
        if before is None:
            return
        if where.attempt < before.attempt:
            yield Violation(4, f"attempt {where.attempt} after attempt {before.attempt}", self._last, record)
        if where.attempt == before.attempt and where.nonce != before.nonce:
            yield Violation(4, f"two writers of attempt {where.attempt}", self._last, record)
        if self._known.log.keeps(where) and not self._known.log.keeps(before):
            cut = self._known.log.discarded_by(before)
            promise, said = (3, f"cut away by attempt {cut}") if cut else (6, "lost by the store")
            yield Violation(promise, f"what the reader held was {said}, and it was not told", self._last, record)

    def _replaced(self, where: Place, record: Received) -> Iterator[Violation]:
        cut = self._known.log.discarded_by(where)
        newer = self._known.attempts.get(cut) if cut else None
        if newer is not None and record.at_ns > newer.at_ns + _HELD_BACK_NS:
            yield Violation(4, f"attempt {where.attempt} had been replaced", newer, record)
        self._known.attempts.setdefault(where.attempt, record)

    def _name(self, record: Received) -> Iterator[Violation]:
        """Every id stands for all content up to it, and for the event itself if that is none."""
        if record.id is None or self._has_gap:
            return
        kind = record.data["type"]
        is_text = kind in CONTENT or kind == "reset"
        meant = (self._transcript.digest, "" if is_text else repr(sorted(record.data.items())))
        known = self._known.names.setdefault(record.id, (meant, record))
        if known[0][0] != meant[0] or (known[0][1] and meant[1] and known[0][1] != meant[1]):
            yield Violation(2, f"{record.id} named something else before", known[1], record)

    def _words(self, record: Received | Left, *, is_whole: bool) -> Iterator[Violation]:
        if self._has_gap:
            return
        written = bytes(self._transcript.written)
        is_right = self._known.oracle.is_answer if is_whole else self._known.oracle.is_beginning
        if is_right(written):
            return
        stranger = self._known.oracle.stranger(written)
        if any(other.contains(stranger) for other in self._known.others):
            yield Violation(7, f"held {stranger!r} of another stream", self._last, record)
            return
        said = "no answer of this stream's provider" if is_whole else "not how any answer of this stream begins"
        yield Violation(3, f"held {said}", self._last, record)

    def _kept_at_the_end(self, record: Left) -> Iterator[Violation]:
        log, where = self._known.log, self._place
        if where is None or self._known.may_be_gone or self._known.evicted_ns is not None:
            return
        if not log.keeps(where):
            if self._ending and not self._known.may_lose_what_was_read_at(self._ending.at_ns):
                yield Violation(6, "a reader was told an end that the log does not have", self._ending, log.record)
            return
        digest = log.digests.get(where.offset)
        if digest is not None and digest != self._transcript.digest and not self._has_gap:
            yield Violation(1, "what the reader holds in the end is not the log", self._ending, log.record)

    def _gone(self, record: Received | Refused) -> Iterator[Violation]:
        if self._known.may_be_gone or self._known.was_evicted_by(record.at_ns):
            return
        if not self._known.may_be_lost_at(record.at_ns):
            yield Violation(6, "a reader was told that a stream is gone, and nobody took it away", self._last, record)

    # State

    def _begin(self) -> None:
        self._transcript = Transcript()
        self._place: Place | None = None
        self._offset = 0
        self._has_gap = False

    def _move(self, where: Place, record: Received) -> None:
        self._place, self._offset, self._last = where, where.offset, record


_SPECIAL: dict[str, Callable[[ReaderView, Any], Iterator[Violation]]] = {
    "start": ReaderView._nothing,
    "heartbeat": ReaderView._nothing,
    "reconnect": ReaderView._nothing,
    "reset": ReaderView._reset,
    "gap": ReaderView._gap,
}
