"""A Redis Cluster of three masters, one of which may have a replica, on free ports; its slots can be moved."""

import asyncio
import contextlib
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Final, Self, cast

from redis.asyncio import Redis
from redis.crc import key_slot
from redis.exceptions import RedisError

from tests.support.redis_server import RedisServer, ServerKind, free_port
from tests.support.waiting import eventually

__all__ = ("RedisCluster",)

_SLOTS: Final = 16_384
_MASTERS: Final = 3
_NODE_TIMEOUT_MS: Final = 1000
# A replica is named only when its offset has moved, which at first only the master's ping does.
_REPLICATION: Final = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
_MIGRATE_MS: Final = 2000
_KEYS_AT_ONCE: Final = 1000


class RedisCluster:
    """`async with` starts it and ends it. `nodes` are the masters; `replica` follows the first of them, if asked for.

    Raises `ServerMissing` if the machine has no such server.
    """

    def __init__(self, kind: ServerKind = "redis7", *, has_replica: bool = False, args: Sequence[str] = ()) -> None:
        fixed = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(_NODE_TIMEOUT_MS), *_REPLICATION, *args)
        # Their talk with each other needs a port too. By default it is 10,000 above, which may be beyond the last one.
        self._bus_ports = [free_port() for _ in range(_MASTERS + has_replica)]
        servers = [RedisServer(kind, args=(*fixed, "--cluster-port", str(port))) for port in self._bus_ports]
        self.nodes = servers[:_MASTERS]
        self.replica = servers[_MASTERS] if has_replica else None
        self._ids: dict[int, str] = {}
        self._clients: dict[int, Redis] = {}
        self._stack = ExitStack()

    def __repr__(self) -> str:
        return f"<RedisCluster {[node.port for node in self.nodes]}>"

    @property
    def url(self) -> str:
        """Only the last two are named: the others have to be found."""
        return f"redis+cluster://{','.join(f'127.0.0.1:{node.port}' for node in self.nodes[1:])}"

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.hang_up()
        await asyncio.to_thread(self.close)

    async def start(self) -> None:
        for node in self._all:
            await asyncio.to_thread(self._stack.enter_context, node)
        await self._join()
        await eventually(self._is_whole, within_s=20, every_s=0.05)
        if self.replica is not None:
            await self.command(self.replica, "CLUSTER", "REPLICATE", self._ids[self.nodes[0].port])
            await eventually(self._is_replicated, within_s=20, every_s=0.05)

    async def hang_up(self) -> None:
        """Close the clients, so that another event loop can open its own."""
        clients, self._clients = list(self._clients.values()), {}
        for client in clients:
            await client.aclose()

    def close(self) -> None:
        self._stack.close()

    # Looking

    def client(self, node: RedisServer) -> Redis:
        """A client straight to a node."""
        if node.port not in self._clients:
            self._clients[node.port] = Redis(port=node.port, socket_timeout=5, socket_connect_timeout=1)
        return self._clients[node.port]

    async def command(self, node: RedisServer, *words: str | int | bytes) -> Any:
        """One command, straight to a node."""
        return await cast("Any", self.client(node)).execute_command(*words)

    def slot(self, bucket: str) -> int:
        """The slot of a bucket's keys."""
        slot: int = key_slot(bucket.encode())
        return slot

    async def owner(self, slot: int) -> RedisServer:
        """The master of a slot, by the first node that answers."""
        for node in self._all:
            with contextlib.suppress(RedisError, OSError):
                for first, last, master, *_ in await self.command(node, "CLUSTER", "SLOTS"):
                    if first <= slot <= last:
                        return next(each for each in self._all if each.port == int(master[1]))
        raise LookupError(f"nobody has slot {slot}")

    async def keys(self, prefix: str) -> list[bytes]:
        """Every key of a prefix, on whatever master."""
        return [
            key
            for node in self._all
            if node is not self.replica
            async for key in self.client(node).scan_iter(match=f"{prefix}:*", count=1000)
        ]

    # Doing

    async def move(self, slot: int, to: RedisServer, *, pause_s: float = 0.0) -> int:
        """Migrate a slot, key by key with a pause after each, as Redis 7 has it. Answers how many keys there were."""
        source = await self.owner(slot)
        if source is to:
            return 0
        await self.open_move(slot, source, to)
        moved = await self.carry_keys(slot, source, to, pause_s=pause_s)
        await self.close_move(slot, to)
        return moved

    async def open_move(self, slot: int, source: RedisServer, to: RedisServer) -> None:
        """From now on the slot is on its way."""
        await self.command(to, "CLUSTER", "SETSLOT", slot, "IMPORTING", self._ids[source.port])
        await self.command(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", self._ids[to.port])

    async def carry_keys(self, slot: int, source: RedisServer, to: RedisServer, *, pause_s: float = 0.0) -> int:
        """Take every key over, also those that are still being made. Answers how many there were."""
        carried = 0
        while keys := await self.command(source, "CLUSTER", "GETKEYSINSLOT", slot, _KEYS_AT_ONCE):
            for key in keys:
                await self.carry(source, to, key)
                carried += 1
                await asyncio.sleep(pause_s)
        return carried

    async def carry(self, source: RedisServer, to: RedisServer, key: str | bytes) -> None:
        await self.command(source, "MIGRATE", "127.0.0.1", to.port, key, 0, _MIGRATE_MS)

    async def close_move(self, slot: int, to: RedisServer) -> None:
        """The slot is `to`'s; first it says so itself, as the documentation has it, then all others."""
        for node in (to, *(node for node in self.nodes if node is not to and node.process.poll() is None)):
            await self.command(node, "CLUSTER", "SETSLOT", slot, "NODE", self._ids[to.port])

    async def until_promoted(self, *, within_s: float = 20.0) -> None:
        """Wait until the replica has taken the first master's place, and the cluster is well again."""

        async def is_promoted() -> bool:
            try:
                owner = await self.owner(0)
                states = [
                    await self.command(node, "CLUSTER", "INFO") for node in self._all if node is not self.nodes[0]
                ]
            except (RedisError, OSError):
                return False
            return owner is self.replica and all(b"cluster_state:ok" in state for state in states)

        await eventually(is_promoted, within_s=within_s, every_s=0.02)

    # Starting

    @property
    def _all(self) -> list[RedisServer]:
        return [*self.nodes, *([self.replica] if self.replica else [])]

    async def _join(self) -> None:
        """Share out the slots by hand: `redis-cli --cluster create` takes longer, and is not everywhere."""
        for node in self._all:
            self._ids[node.port] = (await self.command(node, "CLUSTER", "MYID")).decode()
        for number, node in enumerate(self.nodes):
            first, last = number * _SLOTS // _MASTERS, (number + 1) * _SLOTS // _MASTERS - 1
            await self.command(node, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            await self.command(node, "CLUSTER", "ADDSLOTSRANGE", first, last)
        for node in self._all:
            for other, bus_port in zip(self._all, self._bus_ports, strict=True):
                if other is not node:
                    await self.command(node, "CLUSTER", "MEET", "127.0.0.1", other.port, bus_port)

    async def _is_whole(self) -> bool:
        infos = [await self.command(node, "CLUSTER", "INFO") for node in self._all]
        known = b"cluster_known_nodes:%d" % len(self._all)
        return all(b"cluster_state:ok" in info and known in info for info in infos)

    async def _is_replicated(self) -> bool:
        assert self.replica is not None
        info = await self.client(self.replica).info("replication")
        slots = [await self.command(node, "CLUSTER", "SLOTS") for node in self.nodes]
        return info.get("master_link_status") == "up" and all(any(len(part) > 3 for part in parts) for parts in slots)
