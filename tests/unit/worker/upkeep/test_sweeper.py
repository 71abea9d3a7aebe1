"""What the sweeper does with a stream that nobody can look at."""

import logging
from typing import cast

import pytest

from services.worker.upkeep.sweeper import Sweeper
from shared.errors import StoreMisused
from shared.queue.arq import ArqDispatcher
from shared.settings.settings import Settings
from shared.store.memory.store import MemoryStore
from shared.store.state import Meta
from tests.support.streams import OVER_MS, begin

__all__ = ()


class PartlyBroken(MemoryStore):
    """One stream of this store has a meta that is not to be read."""

    broken = ""

    async def meta(self, stream_id: str) -> Meta | None:
        if stream_id == self.broken:
            raise StoreMisused("its key is of another type")
        return await super().meta(stream_id)


class Queue:
    """Remembers what was dispatched."""

    def __init__(self) -> None:
        self.dispatched: list[str] = []

    async def redispatch(self, stream_id: str, *, round_: str, takeover: bool) -> None:
        self.dispatched.append(stream_id)


async def test_a_broken_stream_is_told_once_and_is_not_in_the_way_of_the_others(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store, queue = PartlyBroken(), Queue()
    store.broken, sound = await begin(store, lease_ms=OVER_MS - 5), await begin(store, lease_ms=OVER_MS)
    sweeper = Sweeper(store, cast("ArqDispatcher", queue), Settings())
    with caplog.at_level(logging.ERROR):
        await sweeper.sweep()
        await sweeper.sweep()
    assert queue.dispatched == [sound, sound]
    assert [record.message for record in caplog.records if "its key" in record.message] == [
        "a stream cannot be looked after: its key is of another type"
    ]
