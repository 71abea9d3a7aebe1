"""What a newer version of Tailrace writes: events of kinds that this one does not know."""

from typing import Any, cast

from shared.log.events import Event
from shared.log.position import Position
from shared.store.memory.store import MemoryStore
from shared.store.redis.store import RedisStore
from shared.store.store import Store

__all__ = ("write_newer",)

# What an entry costs beyond its value.
_OVERHEAD = 16


async def write_newer(store: Store, stream_id: str, kind: str, value: bytes, *, tail: int, attempt: int = 1) -> int:
    """Append an event as that version's function does, in one step; answers the new tail."""
    position = Position(attempt, tail + 1)
    if isinstance(store, MemoryStore):
        stream = store.streams._at(stream_id)
        stream.write(position, Event(kind, value, 1))
        stream.put(tail=tail + 1, safe=tail + 1)
        stream.add("bytes", _OVERHEAD + len(value))
        return tail + 1
    assert isinstance(store, RedisStore)
    async with cast("Any", store.client).pipeline(transaction=True) as pipe:
        pipe.xadd(store.keys.stream(stream_id), {kind: value}, id=str(position))
        pipe.hset(store.keys.meta(stream_id), mapping={"tail": tail + 1, "safe": tail + 1})
        pipe.hincrby(store.keys.meta(stream_id), "bytes", _OVERHEAD + len(value))
        await pipe.execute()
    return tail + 1
