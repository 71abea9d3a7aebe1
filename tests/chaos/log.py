"""The log of one stream as the store holds it at the end: what every reader is measured by."""

import re
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from tests.chaos.oracle import Oracle
from tests.chaos.transcript import CONTENT, TERMINAL, Transcript, size_of
from tests.chaos.violation import Violation
from tests.support.history import Logged

__all__ = ("FinalLog", "Place", "place")

_EVENT_ID = re.compile(r"(\d+)-(\d+)\.([0-9a-f]{8})")


class Place(NamedTuple):
    """An event id taken apart."""

    attempt: int
    offset: int
    nonce: str


def place(event_id: str) -> Place | None:
    """The parts of an event id; None if it has not the documented form."""
    match = _EVENT_ID.fullmatch(event_id)
    return Place(int(match[1]), int(match[2]), match[3]) if match else None


class FinalLog:
    """One `Logged` record, with the questions that the checker asks of it."""

    def __init__(self, record: Logged) -> None:
        self.record = record
        self._fences = sorted((attempt, nonce, keep) for attempt, nonce, keep in record.fences)

    @property
    def exists(self) -> bool:
        return bool(self.record.status)

    def keeps(self, where: Place) -> bool:
        """Whether this place is still part of the log: its attempt known, and kept by all that came after."""
        is_known = any(fence[:2] == (where.attempt, where.nonce) for fence in self._fences)
        return is_known and where.offset <= min(self.kept_of(where.attempt), self.record.tail)

    def was_trimmed_at(self, where: Place) -> bool:
        """Whether a gap may lead to this place.

        The end only knows the last trim of the last start. What a later fence or a failover took away was trimmed as
        far as whoever watched the store says, and if nobody did, there is nothing to hold against it.
        """
        if where.offset <= self.record.trimmed:
            return True
        return not self.keeps(where) if self.record.trims is None else where.offset in self.record.trims

    def kept_of(self, attempt: int) -> float:
        """How much of what an attempt wrote all later attempts kept."""
        return min((keep for later, _, keep in self._fences if later > attempt), default=float("inf"))

    def discarded_by(self, where: Place) -> int | None:
        """The first later attempt whose fence cut this place away."""
        return next((a for a, _, keep in self._fences if a > where.attempt and keep < where.offset), None)

    @cached_property
    def digests(self) -> dict[int, str]:
        """What the content up to each event amounts to, by offset; nothing once the beginning was trimmed away."""
        if self.record.trimmed:
            return {}
        transcript, digests = Transcript(), {}
        for _, offset, data in self.record.entries:
            if data["type"] in CONTENT:
                transcript.add(data)
            if data["type"] != "fence":
                digests[offset] = transcript.digest
        return digests

    def violations(self, oracle: Oracle) -> Iterator[Violation]:
        """What is wrong with the log by itself."""
        yield from self._shape()
        if self.record.status not in TERMINAL:
            yield Violation(12, f"the stream is still {self.record.status}", None, self.record)
            return
        yield from self._ending()
        if not self.record.trimmed:
            yield from self._words(oracle)

    def _shape(self) -> Iterator[Violation]:
        offset, attempt = self.record.trimmed, 0
        for entry_attempt, end, data in self.record.entries:
            size = 0 if data["type"] == "fence" else size_of(data)
            if end - size != offset:
                kind = "a hole" if end - size > offset else "an overlap"
                yield Violation(1, f"{kind} in the log: {entry_attempt}-{end} after offset {offset}", None, self.record)
                return
            if entry_attempt < attempt:
                yield Violation(4, f"attempt {entry_attempt} wrote after attempt {attempt}", None, self.record)
                return
            offset, attempt = end, entry_attempt
        if offset != self.record.tail:
            yield Violation(1, f"the log ends at {offset}, meta says {self.record.tail}", None, self.record)

    def _ending(self) -> Iterator[Violation]:
        kinds = [data["type"] for _, _, data in self.record.entries if data["type"] != "fence"]
        endings = [kind for kind in kinds if kind in TERMINAL]
        if endings != [self.record.status] or kinds[-1] not in TERMINAL:
            yield Violation(5, f"status {self.record.status}, but terminal events {endings}", None, self.record)

    def _words(self, oracle: Oracle) -> Iterator[Violation]:
        transcript = Transcript()
        for _, _, data in self.record.entries:
            if data["type"] in CONTENT:
                transcript.add(data)
        written = bytes(transcript.written)
        is_right = oracle.is_answer(written) if self.record.status == "done" else oracle.is_beginning(written)
        if not is_right:
            yield Violation(3, "the log is no answer of its provider", None, self.record)
