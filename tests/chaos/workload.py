"""What the cluster is asked to do: streams created through any edge, each followed by a few readers to its end."""

import asyncio
import random
import secrets
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from tests.chaos.cluster import Cluster, request_body
from tests.chaos.reader import ChaosReader
from tests.support.history import Created, History
from tests.support.script import Fault, Script
from tests.support.sse_client import opened

__all__ = ("Workload",)

_POLICIES = ("continue", "restart", None)
_PROVIDER_FAULTS = ("cut", "reset", "error_frame", "malformed", "eof", "silence")
_PROVIDER_FAULT_SHARE = 0.15
# How long an answer takes at most, and by how much the last ones outlive the time of the faults.
_LONGEST_S, _OVERHANG_S = 8.0, 2.0


class Workload:
    """Creates streams and readers; all draw from one seed."""

    def __init__(self, cluster: Cluster, history: History, chance: random.Random) -> None:
        self.readers: list[ChaosReader] = []
        self.streams: list[str] = []
        self._cluster = cluster
        self._history = history
        self._chance = chance
        self._scripts = 0
        # Keys make streams: a seed that is run twice on one cluster must not find those of the first time.
        self._name = secrets.token_hex(4)

    def __repr__(self) -> str:
        return f"<Workload {len(self.streams)} streams, {len(self.readers)} readers>"

    async def keep_busy(self, *, streams: int, seconds: float) -> None:
        """Let about so many streams be alive at any time, until time is up; then wait for all of them to end.

        The last ones are shorter: what comes after the last fault shows nothing new, and a hundred runs wait for it.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        async with asyncio.TaskGroup() as group:
            for _ in range(streams):
                group.create_task(self._one_after_the_other(deadline))

    async def follow(self, script: Script, *, policy: str | None = None, readers: int = 2, **manner: float) -> str:
        """Create a stream and follow it to its end with some readers. Answers its id."""
        stream_id = await self.create(script, policy=policy)
        async with asyncio.TaskGroup() as group:
            for reader in self.add_readers(stream_id, readers, **manner):
                group.create_task(reader.run())
        return stream_id

    async def create(self, script: Script, *, policy: str | None = None) -> str:
        """Ask until some edge says yes. The key makes that one stream, however often it is asked."""
        headers = {"idempotency-key": script.key}
        while True:
            asked_ns = self._history.now()
            created = await self._try_to_create(request_body(script, policy), headers)
            if created is not None:
                break
            await asyncio.sleep(0.1 * self._chance.uniform(0.5, 1.5))
        stream_id: str = created["id"]
        if stream_id not in self.streams:
            self.streams.append(stream_id)
            fields = {name: value for name, value in asdict(script).items() if name != "fault"}
            self._history.add(Created(self._history.now(), asked_ns, stream_id, fields, policy or ""))
        return stream_id

    def add_readers(self, stream_id: str, count: int, **manner: float) -> Sequence[ChaosReader]:
        """Readers that have yet to be run."""
        readers = [
            ChaosReader(
                f"{stream_id[:6]}/{len(self.readers) + number}",
                stream_id,
                self._cluster.doors,
                self._history,
                random.Random(self._chance.random()),
                **manner,
            )
            for number in range(count)
        ]
        self.readers += readers
        return readers

    def script(self, *, seconds: float, rate: float = 25.0, **fields: Any) -> Script:
        """An answer that takes about so long."""
        self._scripts += 1
        chunks = max(3, round(seconds * rate))
        return Script(f"{self._name}.{self._scripts}", chunks=chunks, rate=rate, vary=True, **fields)

    async def _one_after_the_other(self, deadline: float) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._chance.uniform(0, 1))
        while loop.time() < deadline:
            longest = min(_LONGEST_S, deadline - loop.time() + _OVERHANG_S)
            script = self.script(seconds=self._chance.uniform(1, longest), **self._manner())
            leaving = self._chance.choice((0, 0, 0.01, 0.05))
            pause_s = self._chance.choice((0, 0, 0.05))
            readers = self._chance.randint(1, 4)
            policy = self._chance.choice(_POLICIES)
            await self.follow(script, policy=policy, readers=readers, leaving=leaving, pause_s=pause_s)

    def _manner(self) -> dict[str, Any]:
        manner: dict[str, Any] = {"kinds": self._chance.choice(("text", "text", "mixed"))}
        if self._chance.random() < _PROVIDER_FAULT_SHARE:
            fault = Fault(self._chance.choice(_PROVIDER_FAULTS), after=self._chance.randint(1, 40), times=1)
            manner["fault"] = fault
        return manner

    async def _try_to_create(self, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any] | None:
        door = self._chance.choice(self._cluster.doors())
        try:
            async with opened(
                door.port, "POST", "/v1/streams", headers=headers, body=body, within_s=8, host=door.host
            ) as answer:
                if answer.status in {200, 201}:
                    created: dict[str, Any] = await answer.json()
                    return created
                assert answer.status in {410, 503}, f"create was answered {answer.status}: {await answer.read()!r}"
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            return None
        return None
