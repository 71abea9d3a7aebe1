"""Reads that share their way to Redis: what is asked when, and what happens to the others when one goes wrong."""

import asyncio
from collections.abc import Sequence

import pytest

from shared.errors import StoreUnavailable
from shared.log.position import START
from shared.store.redis.reads import Answer, LogRead, RedisReads

__all__ = ()

ONE, TWO, BROKEN = (LogRead(stream_id, START, 10) for stream_id in ("one", "two", "broken"))


class Redis:
    """Answers when it is told to. Keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[list[LogRead]] = []
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.failure: Exception | None = None

    async def ask(self, reads: Sequence[LogRead]) -> list[Answer]:
        self.asked.append(list(reads))
        await self.goes_on.wait()
        if self.failure is not None:
            raise self.failure
        return [ValueError(read.stream_id) if read is BROKEN else None for read in reads]


@pytest.fixture
def redis() -> Redis:
    return Redis()


@pytest.fixture
def reads(redis: Redis) -> RedisReads:
    return RedisReads(redis.ask)


async def turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_comes_at_once_is_asked_at_once_and_the_same_only_once(redis: Redis, reads: RedisReads) -> None:
    assert await asyncio.gather(*(reads.read(each) for each in (ONE, TWO, ONE))) == [None] * 3
    assert redis.asked == [[ONE, TWO]]


async def test_who_comes_while_a_batch_is_on_its_way_is_in_the_next(redis: Redis, reads: RedisReads) -> None:
    """Also if it asks the same: the answer on its way may be from before."""
    redis.goes_on.clear()
    first = asyncio.create_task(reads.read(ONE))
    await turns()
    later = [asyncio.create_task(reads.read(each)) for each in (ONE, TWO)]
    await turns()
    assert redis.asked == [[ONE]]
    redis.goes_on.set()
    await asyncio.gather(first, *later)
    assert redis.asked == [[ONE], [ONE, TWO]]


async def test_a_batch_is_bounded(redis: Redis, reads: RedisReads) -> None:
    many = [LogRead(str(number), START, 10) for number in range(200)]
    await asyncio.gather(*map(reads.read, many))
    assert [read for batch in redis.asked for read in batch] == many
    assert max(map(len, redis.asked)) <= 64


async def test_the_same_is_asked_only_once_however_many_wait_before_it(redis: Redis, reads: RedisReads) -> None:
    redis.goes_on.clear()
    many = [LogRead(str(number), START, 10) for number in range(200)]
    tasks = [asyncio.create_task(reads.read(each)) for each in many]
    await turns()
    again = [asyncio.create_task(reads.read(each)) for each in many[64:]]
    await turns()
    redis.goes_on.set()
    await asyncio.gather(*tasks, *again)
    assert [read for batch in redis.asked for read in batch] == many


async def test_a_batch_that_nobody_asks_for_any_more_is_asked_by_those_who_wait(
    redis: Redis, reads: RedisReads
) -> None:
    redis.goes_on.clear()
    many = [LogRead(str(number), START, 10) for number in range(200)]
    tasks = [asyncio.create_task(reads.read(each)) for each in many]
    await turns()
    for sender in (tasks[0], tasks[64], tasks[128]):
        sender.cancel()
    await turns()
    redis.goes_on.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers].count(asyncio.CancelledError) == 3
    assert answers.count(None) == 197


async def test_an_answer_that_cannot_be_read_is_only_its_own_readers_trouble(reads: RedisReads) -> None:
    answers = await asyncio.gather(*map(reads.read, (ONE, BROKEN, TWO, BROKEN)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), ValueError, type(None), ValueError]


async def test_a_failure_of_redis_is_everybodys_and_the_next_batch_is_asked(redis: Redis, reads: RedisReads) -> None:
    redis.failure = StoreUnavailable("gone")
    answers = await asyncio.gather(*map(reads.read, (ONE, TWO)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [StoreUnavailable] * 2
    redis.failure = None
    assert await reads.read(ONE) is None


@pytest.mark.parametrize("is_sent", [True, False])
async def test_when_who_asks_for_all_is_cancelled_the_others_ask_again(
    redis: Redis, reads: RedisReads, is_sent: bool
) -> None:
    redis.goes_on.clear()
    tasks = [asyncio.create_task(reads.read(each)) for each in (ONE, TWO, ONE)]
    if is_sent:
        await turns()
    else:
        await asyncio.sleep(0)
    tasks[0].cancel()
    await turns()
    redis.goes_on.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [asyncio.CancelledError, type(None), type(None)]
    assert set(redis.asked[-1]) == {ONE, TWO}


async def test_who_only_waits_can_be_cancelled_alone(redis: Redis, reads: RedisReads) -> None:
    redis.goes_on.clear()
    tasks = [asyncio.create_task(reads.read(each)) for each in (ONE, TWO, ONE)]
    await turns()
    tasks[2].cancel()
    redis.goes_on.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), type(None), asyncio.CancelledError]
