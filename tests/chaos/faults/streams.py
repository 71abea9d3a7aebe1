"""Faults of single streams: what an operator or a user can do to them."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Final

from shared.errors import StoreError
from shared.log.keys import Keyspace
from tests.chaos.faults.fault import Scene
from tests.support.history import Removed
from tests.support.sse_client import opened

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ("KEYS", "CancelStream", "DeleteKeys", "DeleteStream", "FlushAll")


class CancelStream:
    """A user stops a stream, through any edge."""

    row: ClassVar = "row_26_cancel"
    loses: ClassVar = False

    def __init__(self, stream_id: str | None = None) -> None:
        self._stream_id = stream_id

    async def strike(self, scene: Scene) -> str | None:
        stream_id = self._stream_id or await live_stream(scene)
        edges = scene.cluster.open_edges()
        if stream_id is None or not edges:
            return None
        path = f"/v1/streams/{stream_id}/cancel"
        try:
            async with opened(scene.chance.choice(edges).port, "POST", path, body={}, within_s=5) as answer:
                return f"{stream_id}: {answer.status}" if answer.status == 202 else None
        except (OSError, TimeoutError, EOFError):
            return None


KEYS: Final = (("log",), ("meta",), ("log", "meta", "request"))


class DeleteKeys:
    """Somebody at redis-cli deletes some or all keys of a live stream, or lets them expire now."""

    row: ClassVar = "row_14_keys_deleted"
    loses: ClassVar = False

    def __init__(self, names: tuple[str, ...] | None = None) -> None:
        self.stream_id: str | None = None
        self._names = names

    async def strike(self, scene: Scene) -> str | None:
        self.stream_id = stream_id = await live_stream(scene)
        if stream_id is None:
            return None
        keys = Keyspace(scene.cluster.settings["prefix"])
        key_of = {"log": keys.stream, "meta": keys.meta, "request": keys.request}
        which = [key_of[name](stream_id) for name in self._names or scene.chance.choice(KEYS)]
        scene.history.add(Removed(scene.history.now(), stream_id))
        client = scene.cluster.redis.client((await scene.cluster.redis.master()).port)
        if scene.chance.random() < 0.5:
            return f"{await client.delete(*which)} of {which}"
        await _expire(client, which)
        return f"{which} expired"


async def _expire(client: "Redis", keys: Sequence[str]) -> None:
    """Let keys expire together. A heartbeat in the last millisecond gives what is still there its whole life again."""
    while await client.exists(*keys):
        async with client.pipeline(transaction=True) as pipe:
            for key in keys:
                pipe.pexpire(key, 1)
            await pipe.execute()
        await asyncio.sleep(0.002)


class FlushAll:
    """Somebody empties the whole Redis."""

    row: ClassVar = "row_14_flushall"
    loses: ClassVar = False

    async def strike(self, scene: Scene) -> str | None:
        for stream_id in scene.workload.streams:
            scene.history.add(Removed(scene.history.now(), stream_id))
        client = scene.cluster.redis.client((await scene.cluster.redis.master()).port)
        await client.flushall()
        return f"{len(scene.workload.streams)} streams"


class DeleteStream:
    """A user deletes a live stream."""

    row: ClassVar = "row_14_stream_deleted"
    loses: ClassVar = False

    async def strike(self, scene: Scene) -> str | None:
        stream_id = await live_stream(scene)
        edges = scene.cluster.open_edges()
        if stream_id is None or not edges:
            return None
        scene.history.add(Removed(scene.history.now(), stream_id))
        port = scene.chance.choice(edges).port
        try:
            async with opened(port, "DELETE", f"/v1/streams/{stream_id}", within_s=5) as answer:
                return f"{stream_id}: {answer.status}"
        except (OSError, TimeoutError, EOFError):
            return stream_id


async def live_stream(scene: Scene) -> str | None:
    """One of the workload's streams that is being written, and from which nothing was taken yet."""
    removed = {record.stream for record in scene.history.records if isinstance(record, Removed)}
    left = [stream_id for stream_id in scene.workload.streams if stream_id not in removed]
    try:
        live = [meta.id for meta in await scene.cluster.live() if meta.id in left]
    except StoreError:
        return None
    return scene.chance.choice(live) if live else None
