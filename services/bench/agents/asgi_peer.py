"""A plain server to compare with: a StreamingResponse for each reader, a queue behind it, one XREAD for all.

Specification: `redis_url`, `port`. Serves `/sub/{id}`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import orjson
import uvicorn
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from services.bench.agent import say, spec
from shared.log.keys import Keyspace

__all__ = ("Broadcaster",)

_PACE_S: Final = 0.005


class Broadcaster:
    """Reads all followed streams, and puts each new frame into the queue of each of their readers."""

    def __init__(self, client: "Redis") -> None:
        self._client = client
        self._keys = Keyspace()
        self._queues: dict[str, set[asyncio.Queue[bytes]]] = {}
        self._cursors: dict[Any, Any] = {}

    async def run(self) -> None:
        while True:
            if self._cursors:
                self._deliver(await self._client.xread(self._cursors) or ())
            await asyncio.sleep(_PACE_S)

    async def follow(self, stream_id: str) -> AsyncIterator[bytes]:
        """The frames of a stream from now on, as many at a time as have gathered."""
        key, queue = self._keys.stream(stream_id), asyncio.Queue[bytes]()
        self._queues.setdefault(key, set()).add(queue)
        self._cursors.setdefault(key, b"0-0")
        try:
            while True:
                frames = [await queue.get()]
                while not queue.empty():
                    frames.append(queue.get_nowait())
                yield b"".join(frames)
        finally:
            self._queues[key].discard(queue)

    def _deliver(self, news: Any) -> None:
        for key, entries in news:
            self._cursors[key.decode()] = entries[-1][0]
            for entry_id, fields in entries:
                frame = _frame(entry_id, fields)
                for queue in self._queues[key.decode()]:
                    queue.put_nowait(frame)


def _frame(entry_id: bytes, fields: Mapping[bytes, bytes]) -> bytes:
    ((kind, value),) = fields.items()
    return b"id: %b\ndata: %b\n\n" % (entry_id, orjson.dumps({"type": kind.decode(), "delta": value.decode()}))


def _application(redis_url: str) -> Starlette:
    client: Redis = Redis.from_url(redis_url)
    broadcaster = Broadcaster(client)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async with asyncio.TaskGroup() as group:
            task = group.create_task(broadcaster.run())
            yield
            task.cancel()

    async def subscribe(request: Request) -> Response:
        return StreamingResponse(broadcaster.follow(request.path_params["id"]), media_type="text/event-stream")

    return Starlette(routes=[Route("/sub/{id}", subscribe)], lifespan=lifespan)


def _main() -> None:
    given = spec()
    say({"port": given["port"]})
    uvicorn.run(
        _application(given["redis_url"]), host="127.0.0.1", port=given["port"], log_level="warning", backlog=4096
    )


if __name__ == "__main__":
    _main()
