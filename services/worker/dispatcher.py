"""Dispatch over arq: brings a stream id to some worker. Names, serializer and queue are the workers' contract."""

from datetime import timedelta
from typing import Any

import orjson
from arq.connections import ArqRedis

from shared.redis_client import open_client
from shared.redis_errors import mapping

__all__ = ("JOB", "ArqDispatcher", "deserialize", "job_id", "open_queue", "queue_name", "serialize")

# The one function that workers register. Its arguments are a stream id and whether this is a takeover: never a prompt.
JOB = "pull"
_EXPIRES = timedelta(hours=1)


def queue_name(prefix: str) -> str:
    return f"{prefix}:queue"


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

    async def aclose(self) -> None:
        await self._pool.aclose(close_connection_pool=True)

    async def _enqueue(self, stream_id: str, round_: str, *, takeover: bool) -> None:
        with mapping():
            await self._pool.enqueue_job(
                JOB, stream_id, takeover=takeover, _job_id=job_id(stream_id, round_), _expires=_EXPIRES
            )
