"""The jobs that wait for a worker: put in by turns of their tenants, taken from the head, never held for long."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from arq.constants import in_progress_key_prefix, job_key_prefix
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from shared.log.keys import Keyspace
from shared.queue.library import QueueFunctions
from shared.store.redis.errors import mapping

__all__ = ("HOLD_MS", "Job", "JobQueue", "QueueState", "job_name")

# How long a worker holds a job that it has taken and not claimed. That takes milliseconds; whoever holds a job longer
# is gone, and if it only was slow, its claim is refused. With 3 s, on a machine with six times the load it can bear,
# every other claim came too late.
HOLD_MS: Final = 5000
# Without its content a job is nothing, so what leads to it goes with it.
_EXPIRES_MS: Final = 3_600_000
# Rings that nobody heard. A worker looks at the whole queue when it starts, so more would only make it look again.
_MOST_RINGS: Final = 1000
# Of a long queue only the head is looked through: what is stuck comes to stand there.
_MOST_TENDED: Final = 1000
_SINCE = re.compile(rb'"et":(\d+)')


def job_name(stream_id: str, attempt: int) -> str:
    """The name of a job: one for each attempt that a stream is in need of, so that asking twice leaves one job."""
    return f"{stream_id}.{attempt}"


@dataclass(frozen=True, slots=True)
class Job:
    """A job that this worker holds now. `turn` is its place in the queue."""

    name: str
    turn: int


@dataclass(frozen=True, slots=True)
class QueueState:
    """The contents of the queue; `held` and `stuck` count its first jobs, `wait_ms` is the age of the very first."""

    jobs: int
    held: int
    stuck: int
    wait_ms: int


class JobQueue:
    """The queue under one prefix. Every method but `look` is one round trip; all raise `StoreError`."""

    def __init__(self, client: "Redis", keys: Keyspace) -> None:
        self._client = client
        self._functions = QueueFunctions(client)
        self._keys = keys

    def __repr__(self) -> str:
        return f"<JobQueue {self._keys.queue}>"

    async def put(self, stream_id: str, *, attempt: int, tenant: str) -> bool:
        """Put a job into the queue and ring. Answers False if it waits there already."""
        name, takeover = job_name(stream_id, attempt), "true" if attempt else "false"
        keys = (self._keys.queue, job_key_prefix + name, self._keys.turns, self._keys.bell)
        reply = await self._functions.call("enqueue", keys, name, stream_id, takeover, tenant, _EXPIRES_MS, _MOST_RINGS)
        return bool(reply[0] == b"QUEUED")

    async def take(self, worker: str, *, most: int, again: bool = False) -> Sequence[Job]:
        """The next jobs, which `worker` holds from now on; with `again` also those that it holds already."""
        keys, args = (self._keys.queue, self._keys.bell), (worker, most, HOLD_MS, in_progress_key_prefix, int(again))
        reply = await self._functions.call("take", keys, *args)
        return [Job(name.decode(), int(float(turn))) for name, turn in zip(reply[::2], reply[1::2], strict=True)]

    async def tend(self) -> QueueState:
        """Return the state of the queue, and release the jobs that are stuck in it."""
        args = (_MOST_TENDED, HOLD_MS, in_progress_key_prefix, job_key_prefix)
        return QueueState(*await self._functions.call("tend", (self._keys.queue,), *args))

    async def look(self) -> QueueState:
        """As `tend`, but nothing is changed, the functions need not be loaded, and it takes two round trips."""
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.zcard(self._keys.queue)
            pipe.zrange(self._keys.queue, 0, _MOST_TENDED - 1)
            pipe.time()
            jobs, raw, (seconds, micros) = await _executed(pipe)
            names = [name.decode() for name in raw]
            pipe.get(job_key_prefix + (names[0] if names else ""))
            for name in names:
                pipe.pttl(in_progress_key_prefix + name)
                pipe.exists(job_key_prefix + name)
            first, *answers = await _executed(pipe)
        ttls_ms, contents = answers[::2], answers[1::2]
        kept = [ttl_ms for ttl_ms, is_there in zip(ttls_ms, contents, strict=True) if is_there and ttl_ms != -2]
        stuck = sum(ttl_ms == -1 or ttl_ms > HOLD_MS for ttl_ms in kept) + contents.count(0)
        return QueueState(jobs, len(kept), stuck, _waited_ms(first, seconds * 1000 + micros // 1000))


async def _executed(pipe: "Pipeline") -> list[Any]:
    with mapping():
        answers: list[Any] = await pipe.execute()
    return answers


def _waited_ms(job: bytes | None, now_ms: int) -> int:
    since = _SINCE.search(job or b"")
    return max(0, now_ms - int(since[1])) if since else 0
