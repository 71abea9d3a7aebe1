"""What simulation does to the store in memory: its own time, and losing what Redis can lose."""

import asyncio

import pytest

from shared.log.position import START, Position
from shared.store.calls import Append, LeaseRenewal, Retention
from shared.store.memory.store import MemoryStore
from shared.store.replies import Appended, Beating, Claimed, Created, Fenced, Gone, Held, TailMismatch
from shared.store.state import Tombstone
from tests.support.streams import (
    REQUEST,
    TENANT,
    append,
    begin,
    claim,
    create,
    end,
    log,
    new_stream,
    nonce,
    texts,
    write,
)

__all__ = ()

RETENTION = Retention(live_ms=100, retain_ms=50, tombstone_ms=1000)


class Clockwork:
    """A clock that stands still until somebody moves it, and a sleep that sleeps by it."""

    def __init__(self) -> None:
        self.now_ms = 1_000_000
        self.sleepers: list[tuple[int, asyncio.Future[None]]] = []

    def __call__(self) -> int:
        return self.now_ms

    async def sleep(self, delay_s: float) -> None:
        future = asyncio.get_running_loop().create_future()
        self.sleepers.append((self.now_ms + round(delay_s * 1000), future))
        await future

    async def advance(self, ms: int) -> None:
        self.now_ms += ms
        for at_ms, future in self.sleepers:
            if at_ms <= self.now_ms and not future.done():
                future.set_result(None)
        await settle()


async def settle() -> None:
    """Let every task run until it waits."""
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def clock() -> Clockwork:
    return Clockwork()


@pytest.fixture
def store(clock: Clockwork) -> MemoryStore:
    return MemoryStore(clock=clock, sleep=clock.sleep)


async def test_time_is_the_clocks(store: MemoryStore, clock: Clockwork) -> None:
    assert await store.create(new_stream("0" * 32, dispatch_ms=30), RETENTION) == Created(1_000_000)
    assert await store.due(limit=1) == []
    await clock.advance(30)
    assert await store.due(limit=1) == ["0" * 32]


async def test_a_lease_ends_in_its_millisecond(store: MemoryStore, clock: Clockwork) -> None:
    stream_id = await begin(store, lease_ms=10)
    await clock.advance(9)
    assert await claim(store, stream_id, 2) == Held(1_000_010)
    await clock.advance(1)
    assert isinstance(await claim(store, stream_id, 2), Claimed)


async def test_a_key_expires_after_its_millisecond(store: MemoryStore, clock: Clockwork) -> None:
    """As Redis has it: `now > when`."""
    stream_id = await begin(store, retention=RETENTION)
    await clock.advance(100)
    assert await store.meta(stream_id) is not None
    await clock.advance(1)
    assert await store.meta(stream_id) is None
    assert await store.tombstone(stream_id) == Tombstone(TENANT, 1_000_100, deleted=False)
    await clock.advance(999)
    assert await store.create(new_stream(stream_id), RETENTION) == Gone()
    await clock.advance(1)
    assert isinstance(await store.create(new_stream(stream_id), RETENTION), Created)


async def test_a_read_waits_by_the_given_sleep(store: MemoryStore, clock: Clockwork) -> None:
    stream_id = await begin(store)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(store.tailer().read({stream_id: Position(1, 0)}, count=9, block_ms=2000))
        await settle()
        await clock.advance(1999)
        assert not reading.done()
        await clock.advance(1)
        assert reading.done()
    assert not reading.result()


async def test_an_expired_stream(store: MemoryStore) -> None:
    stream_id = await begin(store, retention=RETENTION)
    store.expire(stream_id)
    assert await store.meta(stream_id) is None
    assert await append(store, stream_id, texts("late")) == Gone()
    assert await store.tombstone(stream_id) == Tombstone(TENANT, 1_000_000, deleted=False)
    store.expire(stream_id)
    store.expire("f" * 32)


async def test_a_lost_tail_makes_the_writer_write_it_again(store: MemoryStore) -> None:
    stream_id = await begin(store)
    await write(store, stream_id, "one ")
    await write(store, stream_id, "two ", tail=4)
    store.lose_tail(stream_id, to=Position(1, 4))
    assert len(await log(store, stream_id)) == 2
    assert await append(store, stream_id, texts("three"), tail=8) == TailMismatch(4)
    assert isinstance(await append(store, stream_id, texts("two "), tail=4), Appended)


async def test_a_lost_fence_brings_the_old_writer_back(store: MemoryStore) -> None:
    """Two claimants can then share an attempt number, but never a nonce."""
    stream_id = await begin(store, lease_ms=-1)
    await write(store, stream_id, "one ")
    before = await store.meta(stream_id)
    await claim(store, stream_id, 2, mode="continue")
    await write(store, stream_id, "zwei", number=2, tail=4)
    store.lose_tail(stream_id, to=Position(1, 4))
    assert await store.meta(stream_id) == before
    assert await append(store, stream_id, texts("zwei"), number=2, tail=8) == Fenced(1)
    assert isinstance(await claim(store, stream_id, 3, mode="continue"), Claimed)
    assert await append(store, stream_id, texts("zwei"), number=2, tail=8) == Fenced(2)


async def test_a_fence_that_threw_away_the_log_can_be_lost(store: MemoryStore) -> None:
    stream_id = await begin(store, lease_ms=-1)
    await write(store, stream_id, "one ")
    before = await log(store, stream_id)
    await claim(store, stream_id, 2, mode="restart")
    store.lose_tail(stream_id, to=Position(1, 99))
    assert await log(store, stream_id) == before


async def test_a_lost_end_reopens_the_stream(store: MemoryStore) -> None:
    stream_id = await begin(store)
    await end(store, stream_id, tail=await write(store, stream_id, "one"))
    store.lose_tail(stream_id, to=Position(1, 3))
    meta = await store.meta(stream_id)
    assert meta is not None
    assert (meta.status, meta.finished_ms) == ("running", 0)
    assert isinstance(await claim(store, stream_id, 2, holder=nonce(1)), Claimed)
    assert (await store.read(stream_id, START, limit=9)) is not None


async def test_a_lost_claim_and_a_lost_creation(store: MemoryStore) -> None:
    stream_id = await begin(store)
    store.lose_tail(stream_id, to=START)
    meta = await store.meta(stream_id)
    assert meta is not None
    assert (meta.status, meta.attempt) == ("queued", 0)
    assert await claim(store, stream_id) == Claimed(1, 0, REQUEST)
    store.lose_tail(stream_id, to=Position(-1, 0))
    assert await store.meta(stream_id) is None
    assert await store.tombstone(stream_id) is None
    store.lose_tail("f" * 32, to=START)
    store.restore(store.snapshot())
    assert await store.meta(stream_id) is None


async def test_a_reader_ahead_of_a_lost_tail_is_deaf(store: MemoryStore) -> None:
    """Like XREAD: this is why readers check before they read."""
    stream_id = await begin(store)
    await write(store, stream_id, "one ", "two ")
    store.lose_tail(stream_id, to=Position(1, 0))
    tailer = store.tailer()
    await write(store, stream_id, "one ")
    assert not await tailer.read({stream_id: Position(1, 8)}, count=9, block_ms=None)


async def test_everything_since_a_snapshot_can_be_lost(store: MemoryStore) -> None:
    kept, changed = await begin(store), await begin(store)
    moment = store.snapshot()
    before = await store.meta(changed)
    await write(store, changed, "text")
    new = await create(store)
    store.restore(moment)
    assert await store.meta(changed) == before
    assert await store.meta(new) is None
    assert await store.meta(kept) is not None
    await write(store, changed, "more")
    store.restore(moment)
    assert await store.meta(changed) == before
    assert await store.heartbeat([LeaseRenewal(kept, nonce(1), 10)], RETENTION) == [Beating(cancelling=False)]


async def test_appends_in_one_call_see_each_other(store: MemoryStore) -> None:
    stream_id = await begin(store)
    calls = [Append(stream_id, nonce(1), tail, texts("x"), tail) for tail in (0, 1, 1)]
    replies = await store.append(calls, RETENTION)
    assert [type(reply) for reply in replies] == [Appended, Appended, TailMismatch]
