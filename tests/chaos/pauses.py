"""How long readers waited: for the first event of a new connection, and for a stream to go on."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tests.chaos.log import place
from tests.support.history import Opened, Received

__all__ = ("Pause", "Pauses", "percentile")


class Pause(NamedTuple):
    """A wait between two records."""

    lasted_ns: int
    first: Opened | Received
    second: Received


@dataclass(slots=True)
class _Course:
    """When a stream first got where: offsets and times only rise."""

    offsets: list[int] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    last: Received | None = None


class Pauses:
    """Collects waits. A resume counts from when the event could first be read, as far as any reader can tell."""

    def __init__(self) -> None:
        self.resumes: list[Pause] = []
        self.stalls: dict[str, Pause] = {}
        self._courses: dict[str, _Course] = {}
        self._opened: dict[str, Opened] = {}

    def opened(self, record: Opened) -> None:
        if record.cursor is not None:
            self._opened[record.reader] = record

    def received(self, record: Received) -> None:
        where = place(record.id) if record.id else None
        if where is None:
            return
        course = self._courses.setdefault(record.stream, _Course())
        if not course.offsets or where.offset > course.offsets[-1]:
            self._stalled(course, record)
            course.offsets.append(where.offset)
            course.times.append(record.at_ns)
            course.last = record
        elif record.data["type"] == "reset":
            # The stream began anew, further back: what comes next has not been said yet.
            self._stalled(course, record)
            kept = bisect_right(course.offsets, where.offset)
            del course.offsets[kept:], course.times[kept:]
            course.last = record
        self._resumed(course, record)

    def _stalled(self, course: _Course, record: Received) -> None:
        if course.last is None:
            return
        pause = Pause(record.at_ns - course.last.at_ns, course.last, record)
        longest = self.stalls.get(record.stream)
        if longest is None or pause.lasted_ns > longest.lasted_ns:
            self.stalls[record.stream] = pause

    def _resumed(self, course: _Course, record: Received) -> None:
        opened = self._opened.pop(record.reader, None)
        cursor = place(opened.cursor) if opened and opened.cursor else None
        if opened is None or cursor is None or record.data["type"] == "reset":
            return
        index = bisect_right(course.offsets, cursor.offset)
        readable_ns = course.times[index] if index < len(course.times) else record.at_ns
        self.resumes.append(Pause(record.at_ns - max(opened.at_ns, readable_ns), opened, record))


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which this share of all lies; 0 if there is none."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else 0.0
