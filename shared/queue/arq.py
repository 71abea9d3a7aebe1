"""Dispatch over arq's queue: brings a stream id to some worker. Names and serializer are the workers' contract."""

from collections.abc import Sequence
from typing import Any

import orjson
from arq.connections import ArqRedis

from shared.log.keys import Keyspace
from shared.queue.jobs import JobQueue
from shared.queue.workers import Workers, WorkerSeen
from shared.store.redis.client import open_client
from shared.store.redis.sentinel.pool import follow_master

__all__ = ("JOB", "ArqDispatcher", "deserialize", "open_queue", "serialize")

# The one function that workers register. Its arguments are a stream id and whether this is a takeover: never a prompt.
JOB = "pull"


def serialize(job: dict[str, Any]) -> bytes:
    """JSON instead of arq's pickle: whoever can write to Redis must not be able to run code here."""
    return orjson.dumps(job, default=str)


def deserialize(raw: bytes) -> dict[str, Any]:
    job: dict[str, Any] = orjson.loads(raw)
    return job


def open_queue(url: str, *, prefix: str, timeout_s: float) -> ArqRedis:
    """arq's client on a pool of ours: Sentinels, deadlines and a start without Redis work as everywhere else."""
    client = open_client(url, timeout_s=timeout_s)
    return ArqRedis(
        connection_pool=client.connection_pool,
        job_serializer=serialize,
        job_deserializer=deserialize,
        default_queue_name=Keyspace(prefix).queue,
    )


class ArqDispatcher:
    """`Dispatcher` over an arq connection pool, which it owns. What it puts into the queue any arq worker could run."""

    def __init__(self, pool: ArqRedis) -> None:
        self._pool = pool
        keys = Keyspace(pool.default_queue_name.rpartition(":")[0])
        self._jobs = JobQueue(pool, keys)
        self._workers = Workers(pool, keys)

    async def dispatch(self, stream_id: str, *, tenant: str = "public") -> bool:
        """Queue a stream that nobody has claimed, at its tenant's turn. Answers False if it waits there already."""
        return await self._jobs.put(stream_id, attempt=0, tenant=tenant)

    async def redispatch(self, stream_id: str, *, attempt: int) -> bool:
        """Queue a stream whose writer of this attempt is gone, before all that are new. Answers as `dispatch`."""
        return await self._jobs.put(stream_id, attempt=attempt, tenant="")

    async def workers(self) -> Sequence[WorkerSeen]:
        return await self._workers.seen()

    async def watch(self) -> None:
        await follow_master(self._pool)

    async def aclose(self) -> None:
        await self._pool.aclose(close_connection_pool=True)
