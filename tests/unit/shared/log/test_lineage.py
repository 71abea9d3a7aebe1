"""The judge of cursors, against readers that remember what they hold."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.log.lineage import Fence, Lineage, Reset, Resume
from shared.log.position import START, EventId, Position

__all__ = ()


def cursor(attempt: int, offset: int, nonce: str | None = None) -> EventId:
    return EventId(Position(attempt, offset), nonce)


TWO_STARTS = Lineage([Fence(1, "a" * 8, 0), Fence(2, "b" * 8, 0)], tail=9)
CONTINUED = Lineage([Fence(1, "a" * 8, 0), Fence(2, "b" * 8, 5)], tail=9)
CUT_DEEPER = Lineage([Fence(1, "a" * 8, 0), Fence(2, "b" * 8, 7), Fence(3, "c" * 8, 4)], tail=6)
QUEUED = Lineage([], tail=0)


@pytest.mark.parametrize(
    ("lineage", "at", "verdict"),
    [
        (QUEUED, cursor(0, 0), Resume(0)),
        (QUEUED, cursor(0, 1), Reset("log_lost")),
        (QUEUED, cursor(1, 0), Reset("log_lost")),
        (QUEUED, cursor(0, 0, "a" * 8), Reset("log_lost")),
        (CONTINUED, cursor(0, 0), Resume(0)),
        (CONTINUED, cursor(2, 9, "b" * 8), Resume(9)),
        (CONTINUED, cursor(2, 9), Resume(9)),
        (CONTINUED, cursor(2, 10, "b" * 8), Reset("log_lost")),
        (CONTINUED, cursor(2, 10), Reset("beyond_tail")),
        (CONTINUED, cursor(1, 10), Reset("new_attempt")),
        (CONTINUED, cursor(2, 9, "c" * 8), Reset("log_lost")),
        (CONTINUED, cursor(3, 0), Reset("log_lost")),
        (CONTINUED, cursor(1, 5, "a" * 8), Resume(5)),
        (CONTINUED, cursor(1, 3), Resume(3)),
        (CONTINUED, cursor(1, 6, "a" * 8), Reset("new_attempt")),
        (TWO_STARTS, cursor(1, 0, "a" * 8), Resume(0)),
        (TWO_STARTS, cursor(1, 1, "a" * 8), Reset("new_attempt")),
        (CUT_DEEPER, cursor(1, 4, "a" * 8), Resume(4)),
        (CUT_DEEPER, cursor(1, 5, "a" * 8), Reset("new_attempt")),
        (CUT_DEEPER, cursor(2, 7, "b" * 8), Reset("new_attempt")),
        (CUT_DEEPER, cursor(3, 6, "c" * 8), Resume(6)),
    ],
)
def test_verdicts(lineage: Lineage, at: EventId, verdict: Resume | Reset) -> None:
    assert lineage.judge(at) == verdict


def test_where_a_lineage_ends() -> None:
    assert (QUEUED.attempt, QUEUED.position) == (0, START)
    assert (CUT_DEEPER.attempt, CUT_DEEPER.position) == (3, Position(3, 6))
    assert repr(CUT_DEEPER) == "<Lineage 3 attempts, tail 6>"


@pytest.mark.parametrize(
    ("lineage", "offset", "event_id"),
    [
        (QUEUED, 0, "0-0"),
        (CONTINUED, 5, "1-5.aaaaaaaa"),
        (CONTINUED, 6, "2-6.bbbbbbbb"),
        (CUT_DEEPER, 4, "1-4.aaaaaaaa"),
        (CUT_DEEPER, 5, "3-5.cccccccc"),
        (TWO_STARTS, 3, "2-3.bbbbbbbb"),
        (TWO_STARTS, 0, "2-0.bbbbbbbb"),
    ],
)
def test_an_offset_is_named_after_who_wrote_it(lineage: Lineage, offset: int, event_id: str) -> None:
    assert str(lineage.event_id(offset)) == event_id


def test_fences_may_come_in_any_order() -> None:
    assert Lineage([Fence(2, "b" * 8, 5), Fence(1, "a" * 8, 0)], tail=9).event_id(3).position == Position(1, 3)


@dataclass
class History:
    """A log of units, and readers that stopped at every place it ever had.

    No two writers write the same; one writer that lost something writes the same again.
    """

    units: list[str] = field(default_factory=list)
    fences: list[Fence] = field(default_factory=list)
    readers: list[tuple[EventId, tuple[str, ...]]] = field(default_factory=list)
    claims: int = 0

    @property
    def lineage(self) -> Lineage:
        return Lineage(self.fences, len(self.units))

    def claim(self, keep: int) -> None:
        self.claims += 1
        keep = min(keep, len(self.units)) if self.fences else 0
        attempt = self.fences[-1].attempt + 1 if self.fences else 1
        del self.units[keep:]
        self.fences.append(Fence(attempt, f"{self.claims:08x}", keep))
        self.note()

    def write(self, count: int) -> None:
        for _ in range(count if self.fences else 0):
            self.units.append(f"{self.fences[-1].nonce} at {len(self.units)}")
            self.note()

    def lose(self, count: int) -> None:
        """A failover: the last writes, and the fences among them, are lost."""
        del self.units[max(0, len(self.units) - count) :]
        while self.fences and self.fences[-1].keep > len(self.units):
            self.fences.pop()

    def note(self) -> None:
        fence = self.fences[-1]
        event_id = EventId(Position(fence.attempt, len(self.units)), fence.nonce)
        self.readers.append((event_id, tuple(self.units)))


steps = st.lists(
    st.one_of(
        st.tuples(st.just("claim"), st.integers(0, 9)),
        st.tuples(st.just("write"), st.integers(1, 4)),
        st.tuples(st.just("lose"), st.integers(1, 6)),
    ),
    max_size=14,
)


@given(steps)
def test_a_reader_goes_on_only_where_it_holds_what_the_log_holds(story: list[tuple[str, int]]) -> None:
    history = History()
    for step, number in story:
        getattr(history, step)(number)
    for event_id, held in history.readers:
        verdict = history.lineage.judge(event_id)
        if isinstance(verdict, Resume):
            assert list(held) == history.units[: verdict.offset]


@given(steps)
def test_a_reader_that_need_not_start_over_does_not(story: list[tuple[str, int]]) -> None:
    """As long as nothing is lost: who holds a prefix of the log goes on."""
    history = History()
    for step, number in story:
        if step != "lose":
            getattr(history, step)(number)
    for event_id, held in history.readers:
        is_prefix = list(held) == history.units[: len(held)]
        assert isinstance(history.lineage.judge(event_id), Resume) == is_prefix


@given(steps)
def test_an_id_given_by_a_lineage_is_good_in_it(story: list[tuple[str, int]]) -> None:
    history = History()
    for step, number in story:
        getattr(history, step)(number)
    for offset in range(len(history.units) + 1):
        assert history.lineage.judge(history.lineage.event_id(offset)) == Resume(offset)


@given(steps)
def test_two_readers_that_hold_the_same_id_hold_the_same_content(story: list[tuple[str, int]]) -> None:
    history = History()
    for step, number in story:
        getattr(history, step)(number)
    contents: dict[EventId, tuple[str, ...]] = {}
    for event_id, held in history.readers:
        assert contents.setdefault(event_id, held) == held
