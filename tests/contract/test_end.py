"""cancel: CANCELLING, ENDED, CLOSED, STALE, GONE. finish: ENDED, HELD, CLOSED, GONE. delete: DELETED, GONE."""

import asyncio
import time

import pytest

from shared.errors import StoreMisused
from shared.log import events
from shared.log.lineage import Fence
from shared.store.replies import Cancelling, CancelReply, Closed, Deleted, Ended, Fenced, FinishReply, Gone, Held, Stale
from shared.store.state import Tombstone
from shared.store.store import Store
from tests.support.streams import (
    OVER_MS,
    RETENTION,
    TENANT,
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
from tests.support.waiting import eventually

__all__ = ()

NOBODY = "f" * 32
CLOCK_SKEW_MS = 1000
CRASHED = events.error("worker_crash_loop", "The stream could not be completed.", retryable=True)


async def cancel(store: Store, stream_id: str, *, attempt: int | None = None) -> CancelReply:
    return await store.cancel(stream_id, attempt=attempt, nonce=nonce(99), retention=RETENTION)


async def finish(store: Store, stream_id: str) -> FinishReply:
    return await store.finish(stream_id, CRASHED, nonce=nonce(99), retention=RETENTION)


@pytest.mark.parametrize("attempt", [None, 1])
async def test_a_live_writer_is_asked(any_store: Store, attempt: int | None) -> None:
    stream_id = await begin(any_store)
    assert await cancel(any_store, stream_id, attempt=attempt) == Cancelling()
    assert await cancel(any_store, stream_id, attempt=attempt) == Cancelling()
    meta = await any_store.meta(stream_id)
    assert meta is not None
    assert (meta.status, meta.cancelling) == ("running", True)


async def test_a_stop_is_announced(any_store: Store) -> None:
    live, queued = await begin(any_store), await create(any_store)
    listener = any_store.cancellations()
    try:
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            heard = group.create_task(listener.next())

            async def is_heard() -> bool:
                await cancel(any_store, live)
                return heard.done()

            await cancel(any_store, queued)
            await eventually(is_heard)
        assert heard.result() == live
    finally:
        await listener.aclose()


@pytest.mark.parametrize("attempt", [0, 2])
async def test_a_stop_for_another_attempt_is_stale(any_store: Store, attempt: int) -> None:
    stream_id = await begin(any_store)
    assert await cancel(any_store, stream_id, attempt=attempt) == Stale(1)
    meta = await any_store.meta(stream_id)
    assert meta is not None
    assert not meta.cancelling


@pytest.mark.parametrize("attempt", [None, 0])
async def test_a_queued_stream_ends_at_once(any_store: Store, attempt: int | None) -> None:
    stream_id = await create(any_store)
    assert await cancel(any_store, stream_id, attempt=attempt) == Ended(1, 1)
    meta = await any_store.meta(stream_id)
    assert meta is not None
    assert (meta.status, meta.attempt, meta.tail, meta.nonce) == ("cancelled", 1, 1, nonce(99))
    assert meta.fences == (Fence(1, nonce(99), 0, "cancelled", ""),)
    assert [entry.event.kind for entry in await log(any_store, stream_id)] == ["fence", "cancelled"]
    assert await claim(any_store, stream_id) == Closed("cancelled", 1)
    assert await any_store.due(limit=10) == []


async def test_an_abandoned_stream_ends_at_once_and_keeps_its_text(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    await write(any_store, stream_id, "so ", "far", safe=0)
    assert await cancel(any_store, stream_id) == Ended(2, 7)
    entries = await log(any_store, stream_id)
    assert [(str(entry.position), entry.event.kind) for entry in entries] == [
        ("1-0", "fence"),
        ("1-3", "text"),
        ("1-6", "text"),
        ("2-6", "fence"),
        ("2-7", "cancelled"),
    ]
    assert await append(any_store, stream_id, texts("zombie"), tail=6) == Fenced(2)


async def test_a_released_stream_ends_at_once(any_store: Store) -> None:
    stream_id = await begin(any_store)
    await any_store.release(stream_id, nonce(1))
    assert await cancel(any_store, stream_id) == Ended(2, 1)


@pytest.mark.parametrize("attempt", [None, 1, 7])
async def test_what_has_ended_cannot_be_stopped(any_store: Store, attempt: int | None) -> None:
    stream_id = await begin(any_store)
    await end(any_store, stream_id)
    assert await cancel(any_store, stream_id, attempt=attempt) == Closed("done", 1)


async def test_a_stop_for_what_never_was_is_gone(any_store: Store) -> None:
    assert await cancel(any_store, NOBODY) == Gone()


async def test_bytes_of_an_ending_are_counted(any_store: Store) -> None:
    stream_id = await create(any_store, request=b"x" * 100, metadata=b'{"a":1}')
    await cancel(any_store, stream_id)
    meta = await any_store.meta(stream_id)
    assert meta is not None
    assert meta.bytes == 7 + 16 + len("{}")


async def test_finish_ends_what_nobody_holds(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    tail = await write(any_store, stream_id, "text")
    assert await finish(any_store, stream_id) == Ended(2, tail + 1)
    meta = await any_store.meta(stream_id)
    assert meta is not None
    assert (meta.status, meta.tail, meta.lease_ms) == ("error", tail + 1, 0)
    assert meta.error == CRASHED.fields()
    assert meta.expires_ms == meta.finished_ms + RETENTION.retain_ms
    assert (await log(any_store, stream_id))[-1].event == CRASHED
    assert await finish(any_store, stream_id) == Closed("error", tail + 1)


@pytest.mark.parametrize("claimed", [True, False])
async def test_finish_respects_a_lease(any_store: Store, *, claimed: bool) -> None:
    stream_id = await (begin if claimed else create)(any_store)
    meta = await any_store.meta(stream_id)
    assert meta is not None
    assert await finish(any_store, stream_id) == Held(meta.lease_ms)
    assert await any_store.meta(stream_id) == meta


async def test_finish_finds_a_stream_whose_job_was_lost(any_store: Store) -> None:
    stream_id = await create(any_store, dispatch_ms=OVER_MS)
    assert await finish(any_store, stream_id) == Ended(1, 1)


async def test_finish_needs_an_ending(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    with pytest.raises(StoreMisused, match="not a terminal event: text"):
        await any_store.finish(stream_id, texts("no")[0], nonce=nonce(99), retention=RETENTION)
    assert [entry.event.kind for entry in await log(any_store, stream_id)] == ["fence"]


async def test_finish_of_what_never_was_is_gone(any_store: Store) -> None:
    assert await finish(any_store, NOBODY) == Gone()


async def test_delete_leaves_a_tombstone(any_store: Store) -> None:
    stream_id = await begin(any_store)
    await write(any_store, stream_id, "text")
    assert await any_store.delete(stream_id, RETENTION) == Deleted()
    tombstone = await any_store.tombstone(stream_id)
    assert tombstone is not None
    assert (tombstone.tenant, tombstone.deleted) == (TENANT, True)
    assert abs(tombstone.gone_ms - time.time() * 1000) < CLOCK_SKEW_MS
    assert await any_store.meta(stream_id) is None
    assert await any_store.due(limit=10) == []
    assert (await any_store.listing(TENANT, status=None, limit=10, cursor=None)).streams == []


async def test_a_deleted_stream_answers_gone(any_store: Store) -> None:
    stream_id = await begin(any_store)
    await any_store.delete(stream_id, RETENTION)
    assert await any_store.delete(stream_id, RETENTION) == Gone()
    assert await append(any_store, stream_id, texts("zombie")) == Gone()
    assert await claim(any_store, stream_id, 2) == Gone()
    assert await cancel(any_store, stream_id) == Gone()
    assert await finish(any_store, stream_id) == Gone()


async def test_a_live_stream_has_a_tombstone_that_says_when(any_store: Store) -> None:
    stream_id = await create(any_store)
    meta = await any_store.meta(stream_id)
    assert meta is not None
    assert await any_store.tombstone(stream_id) == Tombstone(TENANT, meta.expires_ms, deleted=False)
    assert await any_store.tombstone(NOBODY) is None
