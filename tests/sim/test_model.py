"""The log against a model in plain Python: any calls in any order, losses included, and any cursor ever given out.

The model knows nothing of bytes, blocks or fences. It holds a number for each unit that was ever written, none twice:
whether a reader's text is still part of the log is a comparison of two lists.
"""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shared.log import events
from shared.log.lineage import Reset
from shared.log.position import START, EventId
from shared.store.calls import Append, Claim, Compact, LeaseRenewal, Retention
from shared.store.memory.streams import MemoryStreams, Moment
from shared.store.replies import (
    Appended,
    Beating,
    Cancelling,
    Claimed,
    Closed,
    Compacted,
    Ended,
    Fenced,
    Gone,
    Held,
    TailMismatch,
)
from shared.store.resume import Deliver, Gap, UpToDate, step
from tests.support.streams import ALL, new_stream, nonce

__all__ = ()

LEASE_MS = 1_000
ONE_HOUR = Retention(live_ms=3_600_000, retain_ms=3_600_000, tombstone_ms=3_600_000)
READERS = 12

sizes = st.lists(st.integers(1, 4), min_size=1, max_size=4)
which = st.integers(0, 50)


@dataclass
class Model:
    """One stream. `units` is its log; `views` are the logs as their writers know them, by nonce."""

    units: list[int] = field(default_factory=list)
    attempt: int = 0
    nonce: str = ""
    safe: int = 0
    lease_until_ms: int = 0
    is_over: bool = False
    is_gone: bool = False
    trimmed: int = 0
    views: dict[str, list[int]] = field(default_factory=dict)


@dataclass
class Reader:
    """What somebody holds: the `units` up to `cursor`."""

    cursor: EventId
    units: list[int]


def said(units: Sequence[int]) -> bytes:
    return bytes(97 + unit % 26 for unit in units)


class AnyOrder(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now_ms = 1_000_000
        self.store = MemoryStreams(lambda: self.now_ms)
        self.generation = 0
        self.unit = 0

    @initialize()
    def create(self) -> None:
        self.generation += 1
        self.id = f"07{self.generation:030x}"
        self.model = Model(lease_until_ms=self.now_ms + LEASE_MS)
        self.readers = [Reader(EventId(START, None), [])]
        self.moments: list[tuple[Moment, Model]] = []
        self.store.create(new_stream(self.id, dispatch_ms=LEASE_MS), ONE_HOUR)

    @precondition(lambda self: self.model.is_gone)
    @rule()
    def create_another(self) -> None:
        self.create()

    @rule(ms=st.sampled_from([1, LEASE_MS // 2, 2 * LEASE_MS]))
    def pass_time(self, ms: int) -> None:
        self.now_ms += ms

    @rule(mode=st.sampled_from(["continue", "restart"]))
    def claim(self, mode: str) -> None:
        self.generation += 1
        mine, model = nonce(self.generation), self.model
        claim = Claim(mine, worker="w", lease_ms=LEASE_MS, mode=mode, reason="r", holder="", max_attempts=999)  # type: ignore[arg-type]
        reply = self.store.claim(self.id, claim, ONE_HOUR)
        if self.is_refused(reply):
            return
        if model.attempt and model.lease_until_ms > self.now_ms:
            assert isinstance(reply, Held)
            return
        assert isinstance(reply, Claimed)
        keep = model.safe if mode == "continue" else 0
        assert (reply.attempt, reply.keep) == (model.attempt + 1, keep)
        self.fence(mine, keep)
        model.lease_until_ms = self.now_ms + LEASE_MS
        model.views[mine] = list(model.units)

    @rule(sizes=sizes, is_safe=st.booleans(), is_last=st.sampled_from([False, False, False, True]))
    def write(self, sizes: list[int], *, is_safe: bool, is_last: bool) -> None:
        """As a writer does: first again what a failover has lost of its own, then what is new."""
        model = self.model
        view = model.views.get(model.nonce, [])
        sizes = [1] * (len(view) - len(model.units)) + sizes
        new = view[len(model.units) :]
        while len(new) < sum(sizes):
            self.unit += 1
            new.append(self.unit)
        batch, start = [], 0
        for size in sizes:
            batch.append(events.delta("text", said(new[start : start + size]).decode()))
            start += size
        if is_last:
            self.unit += 1
            new.append(self.unit)
            batch.append(events.done("stop"))
        tail = len(model.units)
        safe = tail + len(new) if is_safe or is_last else max(tail, model.safe)
        reply = self.store.append(Append(self.id, model.nonce, tail, batch, safe), ONE_HOUR)
        if self.is_refused(reply):
            return
        if not model.nonce:
            assert isinstance(reply, Fenced | Gone)
            return
        assert isinstance(reply, Appended)
        model.units += new
        model.safe, model.is_over = safe, is_last
        model.views[model.nonce] = list(model.units)

    @rule(who=which, moved=st.sampled_from([-1, 1]))
    def write_wrongly(self, who: int, moved: int) -> None:
        """As a zombie with an old nonce, and as a writer that is mistaken about the end: nothing changes."""
        model = self.model
        old = [known for known in model.views if known != model.nonce]
        mine = old[who % len(old)] if old else model.nonce
        tail = len(model.units) + (0 if old else moved)
        batch = [events.delta("text", "zombie")]
        reply = self.store.append(Append(self.id, mine, tail, batch, tail + 6), ONE_HOUR)
        assert isinstance(reply, Gone | Fenced | TailMismatch | Closed)
        assert model.is_gone or not mine or isinstance(reply, Closed | (Fenced if old else TailMismatch))

    @rule()
    def heartbeat(self) -> None:
        reply = self.store.heartbeat(LeaseRenewal(self.id, self.model.nonce, LEASE_MS), ONE_HOUR)
        if self.model.nonce and not self.is_refused(reply):
            assert isinstance(reply, Beating)
            self.model.lease_until_ms = self.now_ms + LEASE_MS

    @rule(block_bytes=st.sampled_from([90, 150, 1_000_000]), max_bytes=st.sampled_from([0, 300, 1_000_000]))
    def compact(self, block_bytes: int, max_bytes: int) -> None:
        mine = "" if self.model.is_over else self.model.nonce
        reply = self.store.compact(Compact(self.id, mine, block_bytes=block_bytes, max_bytes=max_bytes))
        if isinstance(reply, Compacted):
            assert self.model.trimmed <= reply.trimmed <= reply.folded <= max(self.model.safe, reply.trimmed)
            self.model.trimmed = reply.trimmed

    @rule()
    def cancel(self) -> None:
        self.generation += 1
        model, mine = self.model, nonce(self.generation)
        reply = self.store.cancel(self.id, attempt=None, nonce=mine, retention=ONE_HOUR)
        if self.is_refused(reply):
            return
        if model.attempt and model.lease_until_ms > self.now_ms:
            assert isinstance(reply, Cancelling)
        else:
            assert isinstance(reply, Ended)
            self.end(mine)

    @rule()
    def finish(self) -> None:
        self.generation += 1
        model, mine = self.model, nonce(self.generation)
        reply = self.store.finish(self.id, events.error("c", "m", retryable=False), nonce=mine, retention=ONE_HOUR)
        if self.is_refused(reply):
            return
        if model.lease_until_ms > self.now_ms:
            assert isinstance(reply, Held)
        else:
            assert isinstance(reply, Ended)
            self.end(mine)

    @precondition(lambda self: self.model.is_over)
    @rule()
    def expire(self) -> None:
        self.store.expire(self.id)
        self.model.is_gone = True

    @rule()
    def replicate(self) -> None:
        self.moments.append((self.store.snapshot(), deepcopy(self.model)))

    @precondition(lambda self: self.moments)
    @rule(moment=which)
    def fail_over(self, moment: int) -> None:
        """What the replica had is what there is now. The writers still know their own; no old master comes back."""
        at = moment % len(self.moments)
        views = self.model.views
        replica, model = self.moments[at]
        self.store.restore(replica)
        self.model = deepcopy(model)
        self.model.views = {known: view for known, view in views.items() if known in model.views}
        self.moments = self.moments[:at]

    @rule(offset=which)
    def connect(self, offset: int) -> None:
        """Somebody read so far, wherever that is in an event."""
        meta = self.store.meta(self.id)
        text = len(self.model.units) - self.model.is_over
        if meta is not None and meta.attempt and text:
            end = offset % (text + 1)
            self.readers.append(Reader(meta.lineage.event_id(end), self.model.units[:end]))
            self.readers = self.readers[-READERS:]

    @rule(who=which)
    def resume(self, who: int) -> None:
        """Whoever holds a part of the log goes on exactly after it; everybody else is told to start over."""
        reader = self.readers[who % len(self.readers)]
        held, heard = list(reader.units), b""
        first = True
        while (snapshot := self.store.read(self.id, reader.cursor.position, limit=3)) is not None:
            told = step(reader.cursor, snapshot)
            is_part = held == self.model.units[: len(held)]
            if first:
                # Who holds nothing but the name of a lost attempt loses nothing by starting over.
                assert isinstance(told, Reset) != is_part or not held, (told, held, self.model.units)
            first = False
            match told:
                case Deliver(entries, cursor):
                    start, end = entries[0].start, cursor.position.offset
                    assert start == len(held)
                    heard = b"".join(entry.event.value for entry in entries if entry.event.kind == "text")
                    held = self.model.units[:end]
                    assert heard == said(self.model.units[start : end - entries[-1].event.is_terminal])
                    reader.cursor = cursor
                case Gap(to):
                    assert to.position.offset == self.model.trimmed > len(held)
                    reader.cursor, held = to, self.model.units[: self.model.trimmed]
                case Reset():
                    reader.cursor, held = EventId(START, None), []
                case UpToDate():
                    assert held == self.model.units
                    break
                case _:
                    raise AssertionError(told)
        else:
            assert self.model.is_gone
        reader.units = held

    @invariant()
    def the_log_is_the_model(self) -> None:
        snapshot = self.store.read(self.id, START, limit=ALL)
        if snapshot is None:
            assert self.model.is_gone
            return
        meta, model = snapshot.meta, self.model
        assert (meta.tail, meta.attempt, meta.nonce, meta.is_over) == (
            len(model.units),
            model.attempt,
            model.nonce,
            model.is_over,
        )
        text = b"".join(entry.event.value for entry in snapshot.entries if entry.event.kind == "text")
        assert text == said(model.units[model.trimmed : len(model.units) - model.is_over])

    def is_refused(self, reply: object) -> bool:
        """Whether there is nothing left to do; the answer has to say so."""
        assert isinstance(reply, Gone) >= self.model.is_gone
        if self.model.is_over and not self.model.is_gone:
            assert isinstance(reply, Closed)
        return self.model.is_gone or self.model.is_over

    def fence(self, mine: str, keep: int) -> None:
        model = self.model
        model.attempt, model.nonce, model.safe = model.attempt + 1, mine, keep
        model.units = model.units[:keep]
        model.trimmed = model.trimmed if keep else 0

    def end(self, mine: str) -> None:
        self.fence(mine, len(self.model.units))
        self.unit += 1
        self.model.units.append(self.unit)
        self.model.safe, self.model.is_over = len(self.model.units), True


@pytest.mark.timeout(120)
def test_any_order_of_calls_and_losses_keeps_the_log_and_every_cursor() -> None:
    run_state_machine_as_test(
        AnyOrder,
        settings=settings(
            max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )
