"""So many bytes at a time, first come, first served."""

import asyncio

import pytest

from services.edge.access.byte_limiter import ByteLimiter
from shared.errors import MemoryPressure

__all__ = ()


class Sender:
    """Takes a turn and keeps it until it is told to leave."""

    def __init__(self, limiter: ByteLimiter, wanted_bytes: int) -> None:
        self._limiter = limiter
        self._wanted_bytes = wanted_bytes
        self._may_leave = asyncio.Event()
        self.is_in = False

    async def send(self) -> None:
        async with self._limiter.taken(self._wanted_bytes):
            self.is_in = True
            await self._may_leave.wait()
        self.is_in = False

    def leave(self) -> None:
        self._may_leave.set()


async def settled() -> None:
    """Until everybody who can go on has done so."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_as_many_as_fit_go_at_once_and_the_others_in_their_order() -> None:
    limiter = ByteLimiter(100)
    senders = [Sender(limiter, wanted_bytes) for wanted_bytes in (60, 40, 50, 10)]
    async with asyncio.TaskGroup() as group:
        for sender in senders:
            group.create_task(sender.send())
        await settled()
        assert [sender.is_in for sender in senders] == [True, True, False, False], "nobody small overtakes"
        senders[1].leave()
        await settled()
        assert [sender.is_in for sender in senders] == [True, False, False, False]
        senders[0].leave()
        await settled()
        assert [sender.is_in for sender in senders] == [False, False, True, True]
        senders[2].leave()
        senders[3].leave()
    assert repr(limiter) == "<ByteLimiter 0 of 100 bytes>"


async def test_what_is_larger_than_all_goes_alone() -> None:
    limiter = ByteLimiter(100)
    first, large, last = Sender(limiter, 1), Sender(limiter, 1_000), Sender(limiter, 1)
    async with asyncio.TaskGroup() as group:
        for sender in (first, large, last):
            group.create_task(sender.send())
        await settled()
        assert (first.is_in, large.is_in, last.is_in) == (True, False, False)
        first.leave()
        await settled()
        assert (large.is_in, last.is_in) == (True, False)
        large.leave()
        await settled()
        assert last.is_in
        last.leave()


@pytest.mark.parametrize("leaver", [0, 1, 2], ids=["has its turn", "is the next", "is behind"])
async def test_whoever_is_cancelled_holds_nobody_up(leaver: int) -> None:
    limiter = ByteLimiter(100)
    senders = [Sender(limiter, 100) for _ in range(3)]
    async with asyncio.TaskGroup() as group:
        sending = [group.create_task(sender.send()) for sender in senders]
        await settled()
        sending[leaver].cancel()
        for sender in senders:
            sender.leave()
    assert [task.cancelled() for task in sending] == [number == leaver for number in range(3)]
    assert repr(limiter) == "<ByteLimiter 0 of 100 bytes>"


async def test_whoever_waits_too_long_is_told_when_to_come_again() -> None:
    limiter = ByteLimiter(100, wait_most_s=0.01)
    sender = Sender(limiter, 100)
    async with asyncio.TaskGroup() as group:
        group.create_task(sender.send())
        await settled()
        with pytest.raises(MemoryPressure) as refused:
            async with limiter.taken(1):
                raise AssertionError
        assert refused.value.retry_after_s is not None
        assert 1 <= refused.value.retry_after_s <= 3
        sender.leave()
    async with limiter.taken(1):
        assert repr(limiter) == "<ByteLimiter 1 of 100 bytes>"
