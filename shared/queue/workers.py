"""The workers that are there: each announces itself every second, in a key that expires with the last of them."""

import dataclasses
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self, cast

import orjson
from redis.asyncio import Redis

from shared.log.keys import Keyspace
from shared.queue.library import QueueFunctions
from shared.store.redis.errors import mapping

__all__ = ("ANNOUNCE_S", "GONE_MS", "WorkerSeen", "Workers", "described")

ANNOUNCE_S: Final = 1.0
# Who has said nothing for this long is gone, or cannot reach the queue, which is the same to whoever waits.
GONE_MS: Final = 4000


@dataclass(frozen=True, slots=True)
class WorkerSeen:
    """A worker's report about itself. Times are Redis' clock in ms; `draining` means that it takes no new jobs."""

    id: str
    version: str
    jobs: int
    max_jobs: int
    draining: bool = False
    started_ms: int = 0
    seen_ms: int = 0

    @classmethod
    def parse(cls, name: bytes, said: bytes) -> Self:
        """From one field of the key, whatever other version wrote it."""
        members = {"version": "", "jobs": 0, "max_jobs": 0} | orjson.loads(said)
        known = {field.name: members[field.name] for field in dataclasses.fields(cls) if field.name in members}
        return cls(**known | {"id": name.decode()})


class Workers:
    """The key under one prefix. Every method is one round trip and raises `StoreError`."""

    def __init__(self, client: "Redis", keys: Keyspace) -> None:
        self._client = client
        self._functions = QueueFunctions(client)
        self._key = keys.workers

    def __repr__(self) -> str:
        return f"<Workers {self._key}>"

    async def announce(self, worker: WorkerSeen) -> int:
        """Say that a worker is there. Answers how many are, without those that drain."""
        said = {name: getattr(worker, name) for name in ("version", "jobs", "max_jobs", "draining")}
        return int(await self._functions.call("announce", (self._key,), worker.id, orjson.dumps(said), GONE_MS))

    async def leave(self, worker_id: str) -> None:
        await self._functions.call("announce", (self._key,), worker_id, "", GONE_MS)

    async def seen(self) -> Sequence[WorkerSeen]:
        """Those that are there, by id. One that was killed is seen for `GONE_MS` more."""
        with mapping():
            said = await cast("Awaitable[dict[bytes, bytes]]", self._client.hgetall(self._key))
        return [WorkerSeen.parse(name, each) for name, each in sorted(said.items())]


def described(seen: Sequence[WorkerSeen]) -> Mapping[str, Any]:
    """Return the workers' part of `/v1/stats`: sums over those that take jobs, and a list of all."""
    taking = [worker for worker in seen if not worker.draining]
    return {
        "count": len(taking),
        "jobs": sum(worker.jobs for worker in taking),
        "max_jobs": sum(worker.max_jobs for worker in taking),
        "seen": [dataclasses.asdict(worker) for worker in seen],
    }
