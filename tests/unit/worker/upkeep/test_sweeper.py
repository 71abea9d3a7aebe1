"""The sweeper's looks: what waits for room, or cannot be looked at, is left alone for a while and hides nothing."""

import asyncio
import logging
from typing import cast

import pytest

from services.worker.upkeep.sweeper import Sweeper
from shared.errors import StoreMisused
from shared.log.keys import new_id
from shared.queue.arq import ArqDispatcher
from shared.settings.settings import Settings
from shared.store.calls import Claim, NewStream
from shared.store.memory.store import MemoryStore
from shared.store.replies import Claimed, Created
from shared.store.state import Meta
from tests.support.streams import OVER_MS, RETENTION, begin

__all__ = ()

TENANT = "t"


class PartlyBroken(MemoryStore):
    """One stream of this store has a meta that is not to be read."""

    broken = ""

    async def meta(self, stream_id: str) -> Meta | None:
        if stream_id == self.broken:
            raise StoreMisused("its key is of another type")
        return await super().meta(stream_id)


class Jobs:
    """A dispatcher that remembers, and where nothing is ever taken."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []

    async def dispatch(self, stream_id: str, *, tenant: str) -> bool:
        assert tenant == TENANT
        return await self.redispatch(stream_id, attempt=0)

    async def redispatch(self, stream_id: str, *, attempt: int) -> bool:
        is_new = (stream_id, attempt) not in self.asked
        self.asked.append((stream_id, attempt))
        return is_new


class Clock:
    def __init__(self) -> None:
        self.ms = 1_000_000

    def __call__(self) -> int:
        return self.ms


async def created(store: MemoryStore) -> str:
    new = NewStream(new_id(buckets=4), TENANT, "m", b"{}", dispatch_ms=1000)
    assert isinstance(await store.create(new, RETENTION), Created)
    return new.id


async def test_a_thousand_streams_that_wait_do_not_hide_one_whose_worker_died() -> None:
    clock, jobs = Clock(), Jobs()
    store = MemoryStore(clock=clock)
    sweeper = Sweeper(store, cast("ArqDispatcher", jobs), Settings())
    for _ in range(1000):
        await created(store)
    clock.ms += 1500
    orphan = await created(store)
    assert isinstance(await store.claim(orphan, Claim("ab" * 4, "w", lease_ms=1000), RETENTION), Claimed)
    clock.ms += 2000

    for _ in range(3):
        await sweeper.sweep()

    assert (orphan, 1) in jobs.asked
    assert len(jobs.asked) == len(set(jobs.asked)) == 1001


async def test_what_was_lost_again_is_dispatched_again_a_lease_later() -> None:
    clock, jobs = Clock(), Jobs()
    store = MemoryStore(clock=clock)
    settings = Settings(lease_s=0.2, heartbeat_s=0.1)
    sweeper = Sweeper(store, cast("ArqDispatcher", jobs), settings)
    stream_id = await created(store)
    clock.ms += 1500

    assert await sweeper.sweep() == 1
    jobs.asked.clear()
    assert await sweeper.sweep() == 0
    await asyncio.sleep(0.25)  # the sweeper's patience is by the clock of its loop
    assert await sweeper.sweep() == 1
    assert jobs.asked == [(stream_id, 0)]


async def test_a_broken_stream_is_told_once_and_is_not_in_the_way_of_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, jobs = PartlyBroken(), Jobs()
    store.broken, sound = await begin(store, lease_ms=OVER_MS - 5), await begin(store, lease_ms=OVER_MS)
    sweeper = Sweeper(store, cast("ArqDispatcher", jobs), Settings())
    with caplog.at_level(logging.ERROR):
        await sweeper.sweep()
        await sweeper.sweep()
    assert jobs.asked == [(sound, 1)]  # once a lease
    assert [record.message for record in caplog.records if "its key" in record.message] == [
        "a stream cannot be looked after: its key is of another type"
    ]
