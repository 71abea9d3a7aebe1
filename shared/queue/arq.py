"""Dispatch over arq: brings a stream id to some worker. Names, serializer and queue are the workers' contract.

A job also rings a bell, a list that one waiting worker pops. arq alone would find it at the next look at its queue:
2.5 ms later on average at a poll delay of 5 ms, which costs every idle worker 3 % of a core.
"""

import time
from typing import Any

import orjson
from arq.connections import ArqRedis
from arq.constants import job_key_prefix
from arq.jobs import serialize_job

from shared.store.redis.client import open_client
from shared.store.redis.errors import mapping
from shared.store.redis.sentinel.pool import follow_master

__all__ = ("JOB", "ArqDispatcher", "bell_name", "deserialize", "job_id", "open_queue", "queue_name", "serialize")

# The one function that workers register. Its arguments are a stream id and whether this is a takeover: never a prompt.
JOB = "pull"
_EXPIRES_MS = 3_600_000
# arq does not see a job before the time that was written on it, by the clock of whoever wrote it.
_CLOCK_SKEW_MS = 10_000
# Rings that nobody heard. A worker looks at the whole queue when it starts, so more would only make it look again.
_MOST_RINGS = 1000


def queue_name(prefix: str) -> str:
    return f"{prefix}:queue"


def bell_name(queue: str) -> str:
    return f"{queue}:bell"


def job_id(stream_id: str, round_: str) -> str:
    """A name for one dispatch. arq runs a name once at a time, so every new round needs a new one."""
    return f"{stream_id}.{round_}"


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
        default_queue_name=queue_name(prefix),
    )


class ArqDispatcher:
    """`Dispatcher` over an arq connection pool, which it owns."""

    def __init__(self, pool: ArqRedis) -> None:
        self._pool = pool

    async def dispatch(self, stream_id: str) -> None:
        await self._enqueue(stream_id, "0", takeover=False)

    async def redispatch(self, stream_id: str, *, round_: str, takeover: bool) -> None:
        """Dispatch again what was lost on the way or with its worker. Repeating a round is harmless."""
        await self._enqueue(stream_id, round_, takeover=takeover)

    async def watch(self) -> None:
        await follow_master(self._pool)

    async def aclose(self) -> None:
        await self._pool.aclose(close_connection_pool=True)

    async def _enqueue(self, stream_id: str, round_: str, *, takeover: bool) -> None:
        """What `enqueue_job` does, in one round trip instead of three: a job that is there already stays as it is."""
        name, now_ms = job_id(stream_id, round_), time.time_ns() // 1_000_000
        job = serialize_job(JOB, (stream_id,), {"takeover": takeover}, None, now_ms, serializer=serialize)
        queue = self._pool.default_queue_name
        bell = bell_name(queue)
        with mapping():
            async with self._pool.pipeline(transaction=True) as pipe:
                pipe.set(job_key_prefix + name, job, px=_EXPIRES_MS, nx=True)
                pipe.zadd(queue, {name: now_ms - _CLOCK_SKEW_MS}, nx=True)
                pipe.lpush(bell, 1)
                pipe.ltrim(bell, 0, _MOST_RINGS - 1)
                await pipe.execute()
