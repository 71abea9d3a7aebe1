"""A tailer: many logs on one connection."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence

import pytest

from shared.log.events import LogEntry
from shared.log.position import START, Position
from shared.store.store import Store, Tailer
from tests.support.streams import OVER_MS, RETENTION, append, begin, claim, create, end, texts, write
from tests.support.waiting import eventually

__all__ = ()

LONG_MS = 20_000
NOBODY = "f" * 32


@pytest.fixture
async def tailer(any_store: Store) -> AsyncIterator[Tailer]:
    tailer = any_store.tailer()
    yield tailer
    await tailer.aclose()


News = Mapping[str, Sequence[LogEntry]]


def offsets(news: News) -> dict[str, list[int]]:
    return {stream_id: [entry.position.offset for entry in entries] for stream_id, entries in news.items()}


async def is_reading(tailer: Tailer) -> None:
    """Until the read has begun to wait, as far as can be seen from outside."""

    async def says_so() -> bool:
        return "reading" in repr(tailer)

    await eventually(says_so, every_s=0)


async def test_what_is_there_comes_at_once(any_store: Store, tailer: Tailer) -> None:
    first, second, third = await begin(any_store), await begin(any_store), await create(any_store)
    await write(any_store, first, "ab", "cd")
    cursors = {first: Position(1, 2), second: START, third: START, NOBODY: START}
    news = await tailer.read(cursors, count=10, block_ms=LONG_MS)
    assert offsets(news) == {first: [4], second: [0]}
    assert news[first][0].event == texts("cd")[0]
    assert news == await tailer.read(cursors, count=10, block_ms=None)


async def test_nothing_new_is_said_at_once_or_in_time(any_store: Store, tailer: Tailer) -> None:
    stream_id = await begin(any_store)
    assert not await tailer.read({stream_id: Position(1, 0)}, count=10, block_ms=None)
    assert not await tailer.read({stream_id: Position(1, 0)}, count=10, block_ms=0)
    assert not await tailer.read({stream_id: Position(1, 0)}, count=10, block_ms=20)
    assert not await tailer.read({}, count=10, block_ms=LONG_MS)


async def test_a_read_is_bounded(any_store: Store, tailer: Tailer) -> None:
    first, second = await begin(any_store), await begin(any_store)
    await write(any_store, first, *"abcdef")
    await write(any_store, second, *"abc")
    news = await tailer.read({first: Position(1, 0), second: Position(1, 1)}, count=2, block_ms=None)
    assert offsets(news) == {first: [1, 2], second: [2, 3]}


async def test_a_waiting_read_sees_an_append(any_store: Store, tailer: Tailer) -> None:
    first, second = await begin(any_store), await begin(any_store)
    async with asyncio.TaskGroup() as group:
        cursors = {first: Position(1, 0), second: Position(1, 0)}
        reading = group.create_task(tailer.read(cursors, count=10, block_ms=LONG_MS))
        await is_reading(tailer)
        await write(any_store, second, "new")
    assert offsets(reading.result()) == {second: [3]}


async def test_a_waiting_read_sees_the_end(any_store: Store, tailer: Tailer) -> None:
    stream_id = await begin(any_store)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(tailer.read({stream_id: Position(1, 0)}, count=10, block_ms=LONG_MS))
        await is_reading(tailer)
        await end(any_store, stream_id)
    assert [entry.event.kind for entry in reading.result()[stream_id]] == ["done"]


async def test_a_stream_that_begins_later_is_seen(any_store: Store, tailer: Tailer) -> None:
    stream_id = await create(any_store)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(tailer.read({stream_id: START}, count=10, block_ms=LONG_MS))
        await is_reading(tailer)
        await claim(any_store, stream_id)
    assert [entry.event.kind for entry in reading.result()[stream_id]] == ["fence"]


async def test_a_new_attempt_is_seen_from_an_old_cursor(any_store: Store, tailer: Tailer) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    await write(any_store, stream_id, "a long text")
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(tailer.read({stream_id: Position(1, 11)}, count=10, block_ms=LONG_MS))
        await is_reading(tailer)
        await claim(any_store, stream_id, 2, mode="restart")
    assert [entry.position for entry in reading.result()[stream_id]] == [Position(2, 0)]


async def test_a_deleted_stream_is_silent(any_store: Store, tailer: Tailer) -> None:
    stream_id = await begin(any_store)
    await any_store.delete(stream_id, RETENTION)
    assert not await tailer.read({stream_id: START}, count=10, block_ms=10)


async def test_an_interrupted_read_returns_now(any_store: Store, tailer: Tailer) -> None:
    stream_id = await begin(any_store)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        reading = group.create_task(tailer.read({stream_id: Position(1, 0)}, count=10, block_ms=LONG_MS))
        await is_reading(tailer)
        await tailer.interrupt()
    assert not reading.result()
    await write(any_store, stream_id, "new")
    assert offsets(await tailer.read({stream_id: Position(1, 0)}, count=10, block_ms=LONG_MS)) == {stream_id: [3]}


async def test_an_interrupt_is_never_too_early(any_store: Store, tailer: Tailer) -> None:
    """However far the read has come on its way to Redis when somebody interrupts."""
    stream_id = await begin(any_store)
    for steps in range(12):
        async with asyncio.timeout(5), asyncio.TaskGroup() as group:
            reading = group.create_task(tailer.read({stream_id: Position(1, 0)}, count=10, block_ms=LONG_MS))
            await asyncio.sleep(0)
            for _ in range(steps):
                await asyncio.sleep(0)
            await tailer.interrupt()
        assert not reading.result()


async def test_an_interrupt_of_nothing_does_nothing(any_store: Store, tailer: Tailer) -> None:
    stream_id = await begin(any_store)
    await tailer.interrupt()
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(tailer.read({stream_id: Position(1, 0)}, count=10, block_ms=LONG_MS))
        await is_reading(tailer)
        await write(any_store, stream_id, "new")
    assert offsets(reading.result()) == {stream_id: [3]}


@pytest.mark.parametrize("steps", [0, 1, 2, 3, 5, 8, 13])
async def test_a_cancelled_read_leaves_no_reply_behind(any_store: Store, tailer: Tailer, steps: int) -> None:
    mine, theirs = await begin(any_store), await begin(any_store)
    await write(any_store, theirs, "secret")
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(tailer.read({theirs: START}, count=10, block_ms=LONG_MS))
        for _ in range(steps):
            await asyncio.sleep(0)
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
    assert not await tailer.read({mine: Position(1, 0)}, count=10, block_ms=20)
    await append(any_store, mine, texts("mine"))
    assert offsets(await tailer.read({mine: Position(1, 0)}, count=10, block_ms=LONG_MS)) == {mine: [4]}


async def test_a_read_cancelled_while_it_waits_leaves_no_reply_behind(any_store: Store, tailer: Tailer) -> None:
    mine, theirs = await begin(any_store), await begin(any_store)
    async with asyncio.TaskGroup() as group:
        reading = group.create_task(tailer.read({theirs: Position(1, 0)}, count=10, block_ms=LONG_MS))
        await is_reading(tailer)
        reading.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await reading
    await write(any_store, theirs, "secret")
    await write(any_store, mine, "mine")
    assert offsets(await tailer.read({mine: Position(1, 0)}, count=10, block_ms=LONG_MS)) == {mine: [4]}


async def test_a_closed_tailer_can_be_closed_again(any_store: Store) -> None:
    tailer = any_store.tailer()
    assert not await tailer.read({NOBODY: START}, count=1, block_ms=None)
    await tailer.aclose()
    await tailer.aclose()
