"""One run: a cluster under load, a nemesis, and the verdict on what everybody saw."""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.checker import NO_LIMITS, Limits, Report, check
from tests.chaos.cluster import Cluster
from tests.chaos.failovers import unasked
from tests.chaos.faults.fault import Fault, Scene
from tests.chaos.nemesis import Nemesis, inject
from tests.chaos.workload import Workload
from tests.support.history import Evicted, History, Removed, Struck
from tests.support.script import Script
from tests.support.waiting import eventually

__all__ = ("Run", "Verdict", "scenario")

# After the last fault everything has to come to its end within this time, or never will.
_PATIENCE_S = 60.0
_IN_ASGI = "Exception in ASGI application"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a run has shown. `complaints` are lines that no process should ever log, `errors` what was logged as one."""

    seed: int
    report: Report
    struck: Sequence[Struck] = field(repr=False)
    complaints: Sequence[str] = ()
    errors: Sequence[str] = field(default=(), repr=False)

    @property
    def took_effect(self) -> int:
        return sum(struck.took_effect for struck in self.struck)

    @property
    def problem(self) -> str | None:
        """Why the run is no success; None if it is one."""
        if self.report.first is not None:
            return f"seed {self.seed}: {self.report.first}"
        if self.complaints:
            return f"seed {self.seed}: {self.complaints[0]}"
        said = "; ".join(f"{struck.fault} {struck.said}" for struck in self.struck)
        return None if self.took_effect else f"seed {self.seed}: 0 faults applied: {said}"


class Run:
    """A history in the making. The cluster is somebody else's, so that many runs can share it."""

    def __init__(self, cluster: Cluster, seed: int, *, path: Path | None = None) -> None:
        self.seed = seed
        self.cluster = cluster
        self.chance = random.Random(seed)
        self.history = History(time.monotonic_ns, path)
        self.workload = Workload(cluster, self.history, random.Random(self.chance.random()))
        self.scene = Scene(cluster, self.workload, self.history, random.Random(self.chance.random()))
        self._switches = len(cluster.switched_at_ns)
        self._heard = {member.name: len(member.complaints) for member in cluster.members}

    def __repr__(self) -> str:
        return f"<Run seed={self.seed} {self.workload!r}>"

    async def rage(self, *, seconds: float, faults: Sequence[str], streams: int = 8) -> None:
        """Load and faults at random until time is up, then peace until every reader has come to its end."""
        nemesis = Nemesis(self.scene, faults, random.Random(self.chance.random()))
        async with asyncio.TaskGroup() as group:
            load = group.create_task(self.workload.keep_busy(streams=streams, seconds=seconds))
            await nemesis.rage(seconds)
            await self.cluster.heal()
            await self.to_the_end(load)

    async def to_the_end(self, load: asyncio.Task[None]) -> None:
        """Whoever waits for ever is given up, and so becomes a violation."""
        _, late = await asyncio.wait([load], timeout=_PATIENCE_S)
        for task in late:
            task.cancel()

    async def verdict(self, limits: Limits = NO_LIMITS) -> Verdict:
        """Write down what the store and the provider hold in the end, and check it all."""
        await self._settle()
        for stream_id in self.workload.streams:
            self.history.add(await self.cluster.logged(stream_id, self.history))
            await self._note_eviction(stream_id)
        for asked in await self.cluster.asked(self.history):
            self.history.add(asked)
        struck = [record for record in self.history.records if isinstance(record, Struck)]
        for failover in unasked(self._switched_ns(), struck):
            self.history.add(failover)
        complaints, errors = self._complaints()
        self.history.close()
        return Verdict(self.seed, check(self.history.records, limits), struck, complaints, errors)

    async def _note_eviction(self, stream_id: str) -> None:
        """What was evicted has a tombstone that tells when; a stream that a failover took has not even that."""
        tombstone = await self.cluster.store.tombstone(stream_id)
        if tombstone is None or tombstone.deleted or await self.cluster.store.meta(stream_id) is not None:
            return
        self.history.add(Evicted(tombstone.gone_ms * 1_000_000 - self._ahead_ns(), stream_id))

    def _switched_ns(self) -> list[int]:
        """When the master changed during this run, by the clock of the history."""
        return [at_ns - self._ahead_ns() for at_ns in self.cluster.switched_at_ns[self._switches :]]

    def _ahead_ns(self) -> int:
        """How far the clock of this machine, which Redis and its Sentinels go by, is ahead of that of the history."""
        return time.time_ns() - self.history.now()

    async def _settle(self) -> None:
        """A stream whose readers were told an end that a failover lost is still on its way to another one."""
        await self.cluster.live()  # not before our own connections lead to the master there is now
        removed = {record.stream for record in self.history.records if isinstance(record, Removed)}
        kept = [stream_id for stream_id in self.workload.streams if stream_id not in removed]

        async def is_settled() -> bool:
            metas = [await self.cluster.store.meta(stream_id) for stream_id in kept]
            return all(meta is None or meta.is_over for meta in metas)

        try:
            await eventually(is_settled, within_s=_PATIENCE_S / 2, every_s=0.1)
        except TimeoutError:
            self.history.note("harness", "not every stream has ended")

    def _complaints(self) -> tuple[list[str], list[str]]:
        """What an edge let escape, or somebody printed; and whatever was logged as an error, which may be all right."""
        unheard, errors = [], []
        for member in self.cluster.members:
            for line in member.complaints[self._heard.get(member.name, 0) :]:
                self.history.note(member.name, str(line))
                if line.get("level") == "error":
                    errors.append(f"{member.name}: {line.get('message')}\n{line.get('error', '')}")
                if _IN_ASGI in str(line.get("message")) or line.get("level") == "print":
                    unheard.append(f"{member.name} logged {line}")
        return unheard, errors


async def scenario(
    run: Run,
    *faults: Fault,
    scripts: Sequence[Script],
    limits: Limits,
    policies: Sequence[str | None] = ("continue", "restart"),
    readers: int = 3,
    **manner: float,
) -> Verdict:
    """Faults, while some streams are half-way; the verdict when all of them have ended. `manner` is the readers'."""
    async with asyncio.TaskGroup() as group:
        for number, script in enumerate(scripts):
            policy = policies[number % len(policies)]
            group.create_task(run.workload.follow(script, policy=policy, readers=readers, **manner))
        load = group.create_task(_begun(run.workload, len(scripts) * readers))
        await load
        for fault in faults:
            await inject(fault, run.scene)
    return await run.verdict(limits)


async def _begun(workload: Workload, readers: int) -> None:
    """Wait until every reader has its first event."""

    async def are_there() -> bool:
        return len(workload.readers) == readers and all(reader.begun.is_set() for reader in workload.readers)

    await eventually(are_there, within_s=20, every_s=0.02)
