"""claim: CLAIMED, HELD, EXHAUSTED, CLOSED, GONE; and what its fence keeps of the log."""

import asyncio

import pytest

from shared.log import events
from shared.log.events import LogEntry
from shared.log.lineage import Fence
from shared.log.position import Position
from shared.store.calls import Claim, LeaseRenewal
from shared.store.replies import Claimed, Closed, Exhausted, Fenced, Gone, Held
from shared.store.store import Store
from tests.support.streams import (
    OVER_MS,
    REQUEST,
    RETENTION,
    append,
    begin,
    claim,
    create,
    end,
    log,
    nonce,
    texts,
    write,
)

__all__ = ()

NOBODY = "f" * 32


def fence(attempt: int, keep: int, *, reason: str = "start", worker: str = "worker-1") -> LogEntry:
    event = events.fence(nonce=nonce(attempt), keep=keep, reason=reason, worker=worker)
    return LogEntry(Position(attempt, keep), event)


async def test_the_first_claim_starts_from_nothing(any_store: Store) -> None:
    stream_id = await create(any_store)
    assert await claim(any_store, stream_id) == Claimed(1, 0, REQUEST, cancelling=False)
    meta = await any_store.meta(stream_id)
    assert meta is not None
    assert (meta.status, meta.attempt, meta.nonce, meta.tail) == ("running", 1, nonce(1), 0)
    assert (meta.worker, meta.provider) == ("worker-1", "")
    assert meta.lease_ms == meta.started_ms + 60_000
    assert meta.expires_ms == meta.started_ms + RETENTION.live_ms
    assert meta.fences == (Fence(1, nonce(1), 0, "start", "worker-1"),)
    assert await log(any_store, stream_id) == [fence(1, 0)]


async def test_a_claim_learns_what_the_reader_wants_at_an_interruption(any_store: Store) -> None:
    stream_id = await create(any_store, interruption="fail")
    assert await claim(any_store, stream_id) == Claimed(1, 0, REQUEST, cancelling=False, interruption="fail")


async def test_of_two_claimants_one_is_held(any_store: Store) -> None:
    stream_id = await create(any_store)
    replies = await asyncio.gather(*(claim(any_store, stream_id, number) for number in (1, 2, 3)))
    meta = await any_store.meta(stream_id)
    assert meta is not None
    assert sorted(type(reply).__name__ for reply in replies) == ["Claimed", "Held", "Held"]
    assert {reply for reply in replies if isinstance(reply, Held)} == {Held(meta.lease_ms)}


async def test_a_lease_that_ran_out_can_be_taken(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    assert await claim(any_store, stream_id, 2) == Claimed(2, 0, REQUEST)


async def test_the_holder_can_take_over_from_itself(any_store: Store) -> None:
    stream_id = await begin(any_store)
    assert await claim(any_store, stream_id, 2, holder=nonce(1)) == Claimed(2, 0, REQUEST)
    assert isinstance(await claim(any_store, stream_id, 3, holder=nonce(1)), Held)


async def test_attempts_are_used_up(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    assert isinstance(await claim(any_store, stream_id, 2, max_attempts=2, lease_ms=OVER_MS), Claimed)
    assert await claim(any_store, stream_id, 3, max_attempts=2) == Exhausted(2)
    meta = await any_store.meta(stream_id)
    assert meta is not None
    assert (meta.attempt, meta.nonce) == (2, nonce(2))


async def test_a_held_stream_says_so_before_it_counts_attempts(any_store: Store) -> None:
    stream_id = await begin(any_store)
    assert isinstance(await claim(any_store, stream_id, 2, max_attempts=1), Held)


async def test_an_ended_stream_is_closed(any_store: Store) -> None:
    stream_id = await begin(any_store)
    tail = await end(any_store, stream_id, tail=await write(any_store, stream_id, "hi"))
    assert await claim(any_store, stream_id, 2) == Closed("done", tail)


async def test_what_never_was_is_gone(any_store: Store) -> None:
    assert await claim(any_store, NOBODY) == Gone()


async def test_restart_keeps_nothing(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    await write(any_store, stream_id, "some ", "text", safe=5)
    assert await claim(any_store, stream_id, 2, mode="restart", reason="crash") == Claimed(2, 0, REQUEST)
    assert await log(any_store, stream_id) == [fence(2, 0, reason="crash")]
    await write(any_store, stream_id, "new", number=2)
    assert [entry.position for entry in await log(any_store, stream_id)] == [Position(2, 0), Position(2, 3)]


@pytest.mark.parametrize("safe", [5, 9, 12])
async def test_continue_keeps_what_is_safe(any_store: Store, safe: int) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    await write(any_store, stream_id, "some ", "text", "...", safe=safe)
    before = await log(any_store, stream_id)
    assert await claim(any_store, stream_id, 2, mode="continue") == Claimed(2, safe, REQUEST)
    kept = [entry for entry in before if entry.position.offset <= safe]
    assert await log(any_store, stream_id) == [*kept, fence(2, safe)]
    await write(any_store, stream_id, "more", number=2, tail=safe)
    assert (await log(any_store, stream_id))[-1].position == Position(2, safe + 4)


async def test_continue_with_nothing_safe_starts_over(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    await write(any_store, stream_id, "text", safe=0)
    assert await claim(any_store, stream_id, 2, mode="continue") == Claimed(2, 0, REQUEST)
    assert await log(any_store, stream_id) == [fence(2, 0)]


async def test_several_fences_in_one_log(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    await write(any_store, stream_id, "one ", "two ", safe=4)
    await claim(any_store, stream_id, 2, mode="continue", lease_ms=OVER_MS)
    await write(any_store, stream_id, "zwei ", "drei ", number=2, tail=4, safe=9)
    await claim(any_store, stream_id, 3, mode="continue", max_attempts=9)
    await write(any_store, stream_id, "trois", number=3, tail=9)
    entries = await log(any_store, stream_id)
    assert b"".join(entry.event.value for entry in entries if entry.event.kind == "text") == b"one zwei trois"
    meta = await any_store.meta(stream_id)
    assert meta is not None
    assert [(item.attempt, item.keep) for item in meta.fences] == [(1, 0), (2, 4), (3, 9)]


async def test_bytes_follow_what_is_kept(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS, metadata=b'{"a":1}')
    fresh = await any_store.meta(stream_id)
    await write(any_store, stream_id, "safe")
    safe = await any_store.meta(stream_id)
    await write(any_store, stream_id, "lost", "too", tail=4, safe=4)
    await claim(any_store, stream_id, 2, mode="continue", lease_ms=OVER_MS)
    continued = await any_store.meta(stream_id)
    await claim(any_store, stream_id, 3, mode="restart", max_attempts=9)
    restarted = await any_store.meta(stream_id)
    assert fresh is not None
    assert safe is not None
    assert continued is not None
    assert restarted is not None
    assert fresh.bytes == len(REQUEST) + 7 == restarted.bytes
    assert continued.bytes == safe.bytes == fresh.bytes + 20


async def test_a_zombie_is_fenced(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    tail = await write(any_store, stream_id, "text")
    await claim(any_store, stream_id, 2, mode="continue")
    before = await log(any_store, stream_id)
    assert await append(any_store, stream_id, texts("zombie"), tail=tail) == Fenced(2)
    assert await any_store.heartbeat([LeaseRenewal(stream_id, nonce(1), 1000)], RETENTION) == [Fenced(2)]
    assert await any_store.release(stream_id, nonce(1)) == Fenced(2)
    assert await log(any_store, stream_id) == before


async def test_odd_names_survive_in_the_fence(any_store: Store) -> None:
    stream_id = await create(any_store)
    worker = 'a/b\\/"c"\n\té☃ \U0001f30a\x7f\\u007f\x85\u2028\u2029'
    await any_store.claim(stream_id, Claim(nonce(1), worker, 1000, reason="why/not"), RETENTION)
    assert await log(any_store, stream_id) == [fence(1, 0, reason="why/not", worker=worker)]
    meta = await any_store.meta(stream_id)
    assert meta is not None
    assert (meta.worker, meta.fences[0].worker, meta.fences[0].reason) == (worker, worker, "why/not")


async def test_a_cancel_flag_reaches_the_next_writer(any_store: Store) -> None:
    stream_id = await begin(any_store)
    await any_store.cancel(stream_id, attempt=None, nonce=nonce(9), retention=RETENTION)
    await any_store.release(stream_id, nonce(1))
    assert await claim(any_store, stream_id, 2) == Claimed(2, 0, REQUEST, cancelling=True)
