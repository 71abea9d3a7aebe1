"""Looks at a history once and says which promise it breaks first. Pure: the same records, the same verdict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.chaos.log import FinalLog
from tests.chaos.oracle import Oracle, script_from
from tests.chaos.pauses import Pause, Pauses, percentile
from tests.chaos.view import Known, ReaderView
from tests.chaos.violation import Violation
from tests.support.history import (
    Asked,
    Created,
    Evicted,
    Failed,
    Left,
    Logged,
    Opened,
    Received,
    Record,
    Refused,
    Removed,
    Struck,
)

__all__ = ("NO_LIMITS", "Limits", "Report", "check")

_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """How long readers may wait: for a connection's first event, and for a stream to go on. None: for ever."""

    resume_s: float | None = None
    stall_s: float | None = None


NO_LIMITS: Final = Limits()


@dataclass(slots=True)
class Report:
    """What was seen. Times are seconds."""

    violations: list[Violation] = field(default_factory=list)
    streams: int = 0
    readers: int = 0
    events: int = 0
    resets: int = 0
    gaps: int = 0
    outcomes: dict[str, int] = field(default_factory=dict)
    faults: dict[str, int] = field(default_factory=dict)
    resumes: int = 0
    resume_p99_s: float = 0.0
    longest_stall_s: float = 0.0

    @property
    def first(self) -> Violation | None:
        return self.violations[0] if self.violations else None

    def __str__(self) -> str:
        counts = f"{self.streams} streams, {self.readers} readers, {self.events} events, {self.resets} resets"
        waits = f"{self.resumes} resumes (p99 {self.resume_p99_s:.3f} s), longest pause {self.longest_stall_s:.2f} s"
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items())) or "none"
        return f"{counts}; {waits}; ended {self.outcomes}; faults: {faults}; {len(self.violations)} violations"


def check(records: Sequence[Record], limits: Limits = NO_LIMITS) -> Report:
    """Fold every reader, compare it with the log it read, and the log with its provider."""
    run = _Run(records, limits)
    run.report.violations.extend(run.violations())
    return run.report


class _Run:
    def __init__(self, records: Sequence[Record], limits: Limits) -> None:
        self.report = Report()
        self._records = records
        self._limits = limits
        self._pauses = Pauses()
        self._views: dict[str, ReaderView] = {}
        self._known = _known(records)

    def violations(self) -> Iterator[Violation]:
        for record in self._records:
            yield from self._take(record)
        for known in self._known.values():
            yield from _of_log(known)
        yield from self._unfinished()
        yield from self._waits()
        self._count()

    def _take(self, record: Record) -> Iterator[Violation]:
        match record:
            case Opened():
                self._pauses.opened(record)
                yield from self._view(record).opened(record)
            case Refused():
                yield from self._view(record).refused(record)
            case Received():
                self._tally(record)
                self._pauses.received(record)
                yield from self._view(record).received(record)
            case Left():
                yield from self._view(record).left(record)
            case Failed(promise=promise, said=said):
                yield Violation(promise, said, None, record)
            case Struck(fault=name, took_effect=True):
                self.report.faults[name] = self.report.faults.get(name, 0) + 1
            case _:
                return

    def _view(self, record: Opened | Refused | Received | Left) -> ReaderView:
        view = self._views.get(record.reader)
        if view is None:
            view = self._views[record.reader] = ReaderView(record.reader, self._known[record.stream])
        return view

    def _tally(self, record: Received) -> None:
        self.report.events += 1
        self.report.resets += record.data["type"] == "reset"
        self.report.gaps += record.data["type"] == "gap"

    def _unfinished(self) -> Iterator[Violation]:
        for view in self._views.values():
            if view.outcome is None:
                yield Violation(12, f"reader {view.name} never came to an end", view.last)

    def _waits(self) -> Iterator[Violation]:
        longest = max(self._pauses.stalls.values(), key=_lasted, default=None)
        slowest = max(self._pauses.resumes, key=_lasted, default=None)
        yield from _too_long(10, longest, self._limits.stall_s)
        yield from _too_long(9, slowest, self._limits.resume_s)
        self.report.longest_stall_s = longest.lasted_ns / _S if longest else 0.0

    def _count(self) -> None:
        resumes = [pause.lasted_ns / _S for pause in self._pauses.resumes]
        self.report.resumes, self.report.resume_p99_s = len(resumes), percentile(resumes, 0.99)
        self.report.streams, self.report.readers = len(self._known), len(self._views)
        for view in self._views.values():
            outcome = view.outcome or "never"
            self.report.outcomes[outcome] = self.report.outcomes.get(outcome, 0) + 1


def _known(records: Sequence[Record]) -> dict[str, Known]:
    """What is known of each stream from outside its readers."""
    logs = {record.stream: record for record in records if isinstance(record, Logged)}
    asked = {record.key: record.requests for record in records if isinstance(record, Asked)}
    removed = {record.stream for record in records if isinstance(record, Removed)}
    evicted = {record.stream: record.at_ns for record in records if isinstance(record, Evicted)}
    strikes = [record for record in records if isinstance(record, Struck)]
    lossy = sorted((struck for struck in strikes if struck.loses), key=lambda struck: struck.began_ns)
    full = [struck for struck in strikes if struck.fills]
    known: dict[str, Known] = {}
    for record in records:
        if isinstance(record, Created):
            log = FinalLog(logs.get(record.stream, Logged(0, record.stream)))
            script = script_from(record.script)
            oracle = Oracle(script, asked.get(script.key, 1))
            gone = record.stream in removed
            known[record.stream] = Known(
                log,
                oracle,
                asked_ns=record.asked_ns,
                may_be_gone=gone,
                evicted_ns=evicted.get(record.stream),
                lossy=lossy,
                full=full,
            )
    for each in known.values():
        each.others = [other.oracle for other in known.values() if other is not each]
    return known


def _of_log(known: Known) -> Iterator[Violation]:
    if known.may_be_gone:
        return  # somebody took away some or all of its keys; what its readers are told is another matter
    if known.log.exists:
        yield from known.log.violations(known.oracle)
    elif known.evicted_ns is not None:
        yield from known.eviction()
    elif not known.takers():
        yield Violation(6, "the stream is gone, and nobody took it away", None, known.log.record)


def _too_long(promise: int, pause: Pause | None, limit_s: float | None) -> Iterator[Violation]:
    if pause is not None and limit_s is not None and pause.lasted_ns > limit_s * _S:
        yield Violation(promise, f"waited {pause.lasted_ns / _S:.2f} s", pause.first, pause.second)


def _lasted(pause: Pause) -> int:
    return pause.lasted_ns
