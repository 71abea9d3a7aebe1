"""The parts that `RedisStore` uses beside its client, for one Redis or for a cluster."""

from collections.abc import Sequence
from typing import Any, Protocol

from redis.asyncio import Redis
from redis.crc import key_slot

from shared.log.keys import ID_CHARS, Keyspace
from shared.store.redis.cluster.client import PATIENCE_S, ClusterClient
from shared.store.redis.cluster.pipe import ClusterPipe
from shared.store.redis.cluster.slots import Address
from shared.store.redis.cluster.tailer import ClusterTailer
from shared.store.redis.pipe import Command, RedisPipe
from shared.store.redis.tailer import RedisTailer
from shared.store.store import Tailer

__all__ = ("Pipe", "is_cluster", "one_id_for_each_node", "pipe_for_single_calls", "pipe_to", "tailer_of")


class Pipe(Protocol):
    """Many commands in one go. Trusted to be closed by its owner."""

    async def ask(self, commands: Sequence[Command]) -> list[Any]:
        """The replies in order; refusals stand among them as exceptions. Raises `StoreError`."""
        ...

    async def aclose(self) -> None: ...


def is_cluster(client: "Redis") -> bool:
    return isinstance(client, ClusterClient)


async def one_id_for_each_node(client: "Redis") -> list[str]:
    """Ids of streams that there need not be, so that each node which holds streams has one of them."""
    if not isinstance(client, ClusterClient):
        return ["0" * ID_CHARS]
    owners = (await client.router.slots()).owners
    found: dict[Address | None, str] = {}
    for bucket in range(256):
        name = f"{bucket:02x}"
        found.setdefault(owners[key_slot(name.encode())], name.ljust(ID_CHARS, "0"))
    return list(found.values())


def pipe_to(client: "Redis") -> Pipe:
    return ClusterPipe(client.router) if isinstance(client, ClusterClient) else RedisPipe(client)


def pipe_for_single_calls(client: "Redis") -> Pipe:
    """A pipe that gets one command at a time, and so, like the client, waits for a slot that is on its way."""
    if isinstance(client, ClusterClient):
        return ClusterPipe(client.router, patience_s=PATIENCE_S)
    return RedisPipe(client)


def tailer_of(client: "Redis", keys: Keyspace) -> Tailer:
    return ClusterTailer(client.router, keys) if isinstance(client, ClusterClient) else RedisTailer(client, keys)
