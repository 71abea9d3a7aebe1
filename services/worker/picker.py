"""arq's worker, woken by a bell instead of a clock."""

import asyncio
from typing import Any

from arq.worker import Worker

from services.worker.dispatcher import bell_name

__all__ = ("Picker",)


class Picker(Worker):
    """Looks at the queue when the bell rings, and every `wait_s` in case it did not.

    While there is no `room`, or it may not pick jobs, it leaves bell and queue to the other workers. `has_looked` says
    whether it has ever reached the queue.
    """

    def __init__(self, *, wait_s: float, room: asyncio.Semaphore, **options: Any) -> None:
        super().__init__(poll_delay=0, **options)
        self._wait_s = wait_s
        self._room = room
        self.has_looked = False

    async def _poll_iteration(self) -> None:
        async with self._room:
            pass  # only to know that there is some
        if not self.allow_pick_jobs:
            await asyncio.sleep(self._wait_s)
        elif self.has_looked:
            await self._wait_for_bell()
        await super()._poll_iteration()
        self.has_looked = True

    async def _wait_for_bell(self) -> None:
        bell = bell_name(self.queue_name)
        rang = await self.pool.execute_command("BLPOP", bell, self._wait_s)  # type: ignore[no-untyped-call]
        if rang and not self.allow_pick_jobs:
            # It rang for us while we were told to stop: pass it on, or the job would wait for somebody's next look.
            await self.pool.execute_command("LPUSH", bell, 1)  # type: ignore[no-untyped-call]
