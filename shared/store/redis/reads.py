"""Reads of logs that come at the same time, asked in one go.

When thousands of readers come back at once, each would take a connection of its own out of the pool, and most of those
would have to be opened first. Here one batch is on its way at a time, and whatever comes meanwhile shares the next.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from itertools import islice
from typing import Final, NamedTuple

from shared.errors import StoreError
from shared.log.position import Position
from shared.store.state import Snapshot

__all__ = ("Answer", "LogRead", "RedisReads")

# A page ends with the block or the entry that passes a quarter of a megabyte: it can hold five quarters, and a batch is
# held until the last of its replies has come.
_MOST_READS: Final = 16


class LogRead(NamedTuple):
    """One page of one stream."""

    stream_id: str
    after: Position
    limit: int


class _Left(Enum):
    """In place of an answer: whoever was to ask for this batch was cancelled."""

    LEFT = "left"


Answer = Snapshot | Exception | None
_Waiter = asyncio.Future[Answer | _Left]
_Batch = dict[LogRead, list[_Waiter]]


class RedisReads:
    """`ask` answers a batch in its order. A `StoreError` that it raises is for everybody who waits for the batch."""

    def __init__(self, ask: Callable[[Sequence[LogRead]], Awaitable[Sequence[Answer]]]) -> None:
        self._ask = ask
        self._sending = asyncio.Lock()
        self._waiting: dict[LogRead, list[_Waiter]] = {}
        self._senders = 0

    def __repr__(self) -> str:
        return f"<RedisReads waiting={len(self._waiting)}>"

    async def read(self, read: LogRead) -> Snapshot | None:
        """Return Redis' answer to a read sent after this call. Equal reads sent together share the snapshot."""
        while True:
            answer = await self._answer(read)
            if isinstance(answer, _Left):
                continue
            if isinstance(answer, Exception):
                raise answer
            return answer

    async def _answer(self, read: LogRead) -> Answer | _Left:
        waiter: _Waiter = asyncio.get_running_loop().create_future()
        waiters = self._waiting.setdefault(read, [])
        waiters.append(waiter)
        if len(self._waiting) > self._senders * _MOST_READS:
            await self._send()
        return await waiter

    async def _send(self) -> None:
        """Send one batch, after those before it. Of all that waits, each sender has promised to take so much."""
        self._senders += 1
        batch: _Batch | None = None
        answers: Sequence[Answer | _Left] = [_Left.LEFT] * _MOST_READS
        try:
            async with self._sending:
                await asyncio.sleep(0)  # for those who come in the same iteration of the loop
                batch = self._take()
                answers = await self._ask(list(batch))
        except StoreError as error:
            answers = [error] * _MOST_READS
        finally:
            if batch is None:
                batch = self._take()
            for waiters, answer in zip(batch.values(), answers, strict=False):
                _settle(waiters, answer)

    def _take(self) -> _Batch:
        self._senders -= 1
        return {read: self._waiting.pop(read) for read in list(islice(self._waiting, _MOST_READS))}


def _settle(waiters: Sequence[_Waiter], answer: Answer | _Left) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(answer)
