"""Who strikes: each fault of a schedule at its time, against whoever its number falls on."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from shared.errors import TailraceError
from shared.store.calls import Compact
from shared.store.memory.streams import Moment
from shared.store.replies import Compacted
from tests.sim.edge import CALLER
from tests.sim.network import Link
from tests.sim.population import Population
from tests.sim.schedule import Planned
from tests.support.history import Removed, Struck

__all__ = ("SimNemesis",)

_REPLACED_AFTER_S = 0.5
# A fault that is to meet a certain step waits as long for it, then strikes anyway.
_STEP_WITHIN_S = 1.0
# As long a client waits for an answer; the edge it asked may be dead by then.
_ANSWER_WITHIN_S = 2.0


class SimNemesis:
    """The method `_name` is the fault `name`; each answers whether it met anybody."""

    def __init__(self, everybody: Population, planned: Sequence[Planned]) -> None:
        self._all = everybody
        self._planned = planned
        self._losses = 0
        self._reached: Link | None = None

    def __repr__(self) -> str:
        return f"<SimNemesis {[planned.fault for planned in self._planned]}>"

    async def rage(self) -> None:
        """Strike as planned; returns when every fault is lifted."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            for planned in self._planned:
                await asyncio.sleep(began + planned.at_s - loop.time())
                group.create_task(self._inject(planned))

    async def _inject(self, planned: Planned) -> None:
        strike: Callable[[Planned], Awaitable[bool]] = getattr(self, f"_{planned.fault}")
        if planned.fault != "lose_tail":
            await self._reach(planned)
        began_ns = self._all.history.now()
        took_effect = await strike(planned)
        loses = took_effect and planned.fault == "lose_tail"
        self._all.history.add(
            Struck(
                self._all.history.now(), planned.fault, took_effect, loses=loses, began_ns=began_ns, said=str(planned)
            )
        )

    async def _reach(self, planned: Planned) -> None:
        """Wait for the step that is to be met; whoever takes it becomes the victim."""
        if planned.step is not None:
            self._reached = await self._all.network.reached(planned.step, within_s=_STEP_WITHIN_S)

    def _victim(self, among: Sequence[Any], planned: Planned) -> Any:
        """Whoever was met at its step, or the one that the number falls on."""
        if planned.step is not None and self._reached is not None:
            for each in among:
                if each.link is self._reached:
                    return each
        return _chosen(among, planned)

    async def _crash_worker(self, planned: Planned) -> bool:
        worker = self._victim(self._all.living_workers(), planned)
        if worker is None:
            return False
        worker.link.kill()
        await asyncio.sleep(_REPLACED_AFTER_S)
        self._all.start_worker()
        return True

    async def _freeze_worker(self, planned: Planned) -> bool:
        worker = _chosen(self._all.living_workers(), planned)
        if worker is None:
            return False
        worker.link.freeze()
        await asyncio.sleep(planned.lasts_s)
        worker.link.thaw()
        return True

    async def _drain_worker(self, planned: Planned) -> bool:
        worker = _chosen(self._all.living_workers(), planned)
        if worker is None:
            return False
        worker.drain()
        self._all.start_worker()
        await asyncio.sleep(planned.lasts_s)
        worker.link.kill()
        return True

    async def _crash_edge(self, planned: Planned) -> bool:
        edge = self._victim(self._all.open_edges(), planned)
        if edge is None:
            return False
        edge.kill()
        self._all.start_edge()
        return True

    async def _freeze_edge(self, planned: Planned) -> bool:
        edge = _chosen(self._all.open_edges(), planned)
        if edge is None:
            return False
        edge.link.freeze()
        await asyncio.sleep(planned.lasts_s)
        edge.link.thaw()
        return True

    async def _drain_edge(self, planned: Planned) -> bool:
        edge = _chosen(self._all.open_edges(), planned)
        if edge is None:
            return False
        self._all.start_edge()
        edge.drain()
        await asyncio.sleep(self._all.settings.edge_drain_s)
        edge.kill()
        return True

    async def _store_down(self, planned: Planned) -> bool:
        self._all.network.is_down = True
        self._all.network.fail_over()
        await asyncio.sleep(planned.lasts_s)
        self._all.network.is_down = False
        return True

    async def _lost_replies(self, planned: Planned) -> bool:
        self._all.network.loss = 0.5
        await asyncio.sleep(planned.lasts_s)
        self._all.network.loss = 0.0
        return True

    async def _store_full(self, planned: Planned) -> bool:
        self._all.network.is_full = True
        await asyncio.sleep(planned.lasts_s)
        self._all.network.is_full = False
        return True

    async def _fail_over(self, planned: Planned) -> bool:
        self._all.network.fail_over()
        return True

    async def _lose_tail(self, planned: Planned) -> bool:
        """The replica hears nothing for a while; then it becomes the master."""
        moment: Moment = self._all.network.store.snapshot()
        losses = self._losses
        await asyncio.sleep(planned.lasts_s)
        await self._reach(planned)
        if losses != self._losses:
            return False  # there has been another master since, and what it lost does not come back
        self._losses += 1
        self._all.network.strikes("lost_tail")
        self._all.network.store.restore(moment)
        self._all.network.fail_over()
        return True

    async def _lose_jobs(self, planned: Planned) -> bool:
        self._all.queue.loss = 0.8
        await asyncio.sleep(planned.lasts_s)
        self._all.queue.loss = 0.0
        return True

    async def _cancel(self, planned: Planned) -> bool:
        stream_id, edge = _chosen(self._all.streams, planned), _chosen(self._all.open_edges(), planned)
        if stream_id is None or edge is None:
            return False
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await edge.streams.cancel(CALLER, stream_id, attempt=None)
        except (TailraceError, TimeoutError):
            return False
        return True

    async def _delete(self, planned: Planned) -> bool:
        stream_id, edge = _chosen(self._all.streams, planned), _chosen(self._all.open_edges(), planned)
        if stream_id is None or edge is None:
            return False
        self._all.history.add(Removed(self._all.history.now(), stream_id))
        try:
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                await edge.streams.delete(CALLER, stream_id)
        except (TailraceError, TimeoutError):
            return False
        return True

    async def _expire(self, planned: Planned) -> bool:
        stream_id = _chosen(self._all.streams, planned)
        if stream_id is None:
            return False
        self._all.history.add(Removed(self._all.history.now(), stream_id))
        self._all.network.strikes("expiry")
        self._all.network.store.expire(stream_id)
        return True

    async def _trim(self, planned: Planned) -> bool:
        """The stream's budget is suddenly used up by what it has: its own writer folds and trims as far as it can."""
        stream_id = _chosen(self._all.streams, planned)
        meta = self._all.meta(stream_id) if stream_id is not None else None
        if meta is None:
            return False
        call = Compact(meta.id, "" if meta.is_over else meta.nonce, block_bytes=120, max_bytes=0)
        answer = self._all.network.store.streams.compact(call)
        if not isinstance(answer, Compacted) or answer.trimmed <= meta.trimmed:
            return False
        self._all.network.note_trim(meta.id, answer.trimmed)
        return True


def _chosen(among: Sequence[Any], planned: Planned) -> Any:
    return among[planned.victim % len(among)] if among else None
