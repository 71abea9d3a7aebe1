"""Dispatch by an edge: nobody waits long for a queue that is away, and nothing is forgotten meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from services.edge.dispatching import Dispatching
from services.edge.workforce import Workforce
from shared.errors import StoreUnavailable
from shared.queue.workers import WorkerSeen
from shared.telemetry.metrics import Metrics, process_registry
from tests.support.waiting import eventually

__all__ = ()


class Queue:
    """A dispatcher whose queue is away, or hangs, as long as somebody says so."""

    def __init__(self) -> None:
        self.is_away = False
        self.hangs = False
        self.queued: list[tuple[str, str]] = []
        self.tries = 0

    async def dispatch(self, stream_id: str, *, tenant: str) -> bool:
        self.tries += 1
        await self._answer()
        self.queued.append((stream_id, tenant))
        return True

    async def workers(self) -> Sequence[WorkerSeen]:
        self.tries += 1
        await self._answer()
        return [WorkerSeen("a", "1", 2, 10), WorkerSeen("b", "1", 1, 10, draining=True)]

    async def watch(self) -> None:
        """Nobody has to."""

    async def aclose(self) -> None:
        return None

    async def _answer(self) -> None:
        if self.hangs:
            await asyncio.get_running_loop().create_future()
        if self.is_away:
            raise StoreUnavailable("away")


@asynccontextmanager
async def running(queue: Queue) -> AsyncIterator[Dispatching]:
    dispatching = Dispatching(queue)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(dispatching.run())
        yield dispatching
        task.cancel()


async def test_a_stream_is_dispatched_once_and_at_once() -> None:
    queue = Queue()
    async with running(queue) as dispatching:
        await dispatching.dispatch("a", tenant="t")
        assert queue.queued == [("a", "t")]
        assert queue.tries == 1


async def test_what_the_queue_refused_comes_in_order_when_it_is_back() -> None:
    queue = Queue()
    queue.is_away = True
    async with running(queue) as dispatching:
        for name in "abc":
            await dispatching.dispatch(name, tenant="t")
        assert queue.queued == []
        queue.is_away = False

        async def is_queued() -> bool:
            return len(queue.queued) == 3

        await eventually(is_queued, within_s=1.5)
        assert queue.queued == [("a", "t"), ("b", "t"), ("c", "t")]
        tries = queue.tries
        await dispatching.dispatch("d", tenant="t")
        assert queue.tries == tries + 1


async def test_nobody_waits_long_for_a_queue_that_hangs() -> None:
    queue = Queue()
    queue.hangs = True
    async with running(queue) as dispatching:
        async with asyncio.timeout(2):
            await dispatching.dispatch("a", tenant="t")
        queue.hangs = False

        async def is_queued() -> bool:
            return queue.queued == [("a", "t")]

        await eventually(is_queued, within_s=2.5)


async def test_the_workers_are_asked_for_once_for_all_who_ask_at_once() -> None:
    queue, metrics = Queue(), Metrics.on(process_registry())
    workforce = Workforce(queue, metrics)
    states = await asyncio.gather(*(workforce.state() for _ in range(10)))

    assert queue.tries == 1
    assert all(state is not None and (state["count"], state["jobs"]) == (1, 2) for state in states)


async def test_workers_are_unknown_when_the_queue_does_not_answer() -> None:
    queue = Queue()
    queue.is_away = True
    assert await Workforce(queue, Metrics.on(process_registry())).state() is None
