"""A Redis with replicas and three Sentinels, on free ports, all of which can be killed."""

import asyncio
import contextlib
import subprocess
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.support.redis_server import RedisServer, ServerKind, free_port, server_binary
from tests.support.waiting import eventually

__all__ = ("MASTER", "SentinelGroup", "running_sentinels", "sentinel_of")

MASTER: Final = "tailrace"
# More than a second: a Sentinel pings a new master for the first time after one, and with 1000 ms calls it down in that
# same tick. In 2 of 20 runs it then failed over a second time, while the master lived on.
_DOWN_AFTER_MS = 1500
_PATIENT_MS = 60_000
_FAILOVER_TIMEOUT_MS = 3000
_SENTINELS, _QUORUM = 3, 2
# The replica has a user of its own, so that the link can be cut by switching that user off.
_REPLICATION: Final = ("--masteruser", "replica", "--masterauth", "link", "--repl-diskless-sync-delay", "0")
_USER: Final = ("--user", "replica", "on", ">link", "+psync", "+replconf", "+ping")


class SentinelGroup:
    """Two nodes, or more, and what watches over them. `async with` starts them and ends them by pid."""

    def __init__(self, kind: ServerKind = "redis7", *, replicas: int = 1, args: Sequence[str] = ()) -> None:
        options = ("--appendfsync", "everysec", *_REPLICATION, *_USER, *args)
        self.nodes = [RedisServer(kind, appendonly=True, args=options) for _ in range(1 + replicas)]
        self.sentinel_ports: list[int] = []
        self._binary = server_binary(kind)
        self._folder = tempfile.TemporaryDirectory(prefix="tailrace-sentinel-")
        self._sentinels: list[subprocess.Popen[bytes]] = []
        self._stack = ExitStack()
        self._clients: dict[int, Redis] = {}

    def __repr__(self) -> str:
        return f"<SentinelGroup nodes={[node.port for node in self.nodes]} sentinels={self.sentinel_ports}>"

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.sentinel_ports)
        return f"redis+sentinel://{hosts}/{MASTER}"

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients.values():
            await client.aclose()
        for process in self._sentinels:
            process.kill()
            process.wait()
        await asyncio.to_thread(self._stack.close)
        self._folder.cleanup()

    # Looking

    def client(self, port: int) -> Redis:
        """A client straight to a node or a Sentinel."""
        if port not in self._clients:
            self._clients[port] = Redis(port=port, socket_timeout=2, socket_connect_timeout=1)
        return self._clients[port]

    async def command(self, port: int, *words: str | int) -> Any:
        """One command, straight to a node or a Sentinel."""
        return await cast("Any", self.client(port)).execute_command(*words)

    async def master(self) -> RedisServer:
        """The node that most Sentinels call the master."""
        named = [await self._named_by(port) for port in self.sentinel_ports]
        port = max(set(named), key=named.count)
        return next(node for node in self.nodes if node.port == port)

    async def replica(self) -> RedisServer:
        """The first node that is not the master."""
        return (await self._replicas())[0]

    async def _replicas(self) -> list[RedisServer]:
        master = await self.master()
        return [node for node in self.nodes if node is not master]

    async def offset(self, node: RedisServer) -> int:
        """How much of the replication stream a node has."""
        info = await self._info(node)
        return int(info.get("slave_repl_offset", info.get("master_repl_offset", 0)))

    async def is_whole(self) -> bool:
        """Whether everybody agrees who is the master, and all others are its replicas and up to date."""
        try:
            named = {await self._named_by(port) for port in self.sentinel_ports}
            master = await self.master()
            if named != {master.port}:
                return False
            above, below = await self._info(master), [await self._info(each) for each in await self._replicas()]
        except (RedisError, OSError, StopIteration):
            return False
        return above.get("role") == "master" and all(_is_linked(info, master.port) for info in below)

    @property
    def switched_at_ns(self) -> list[int]:
        """When the master changed, by the wall clock, as the first Sentinel wrote it down."""
        path = Path(self._folder.name) / str(self.sentinel_ports[0]) / "sentinel.log"
        lines = [line for line in path.read_text(errors="replace").splitlines() if "+switch-master" in line]
        return [_written_at_ns(line) for line in lines]

    # Doing

    async def heal(self, *, within_s: float = 30.0) -> None:
        """Start what is dead, join it to the master there is now, and wait until all is well again."""
        await eventually(self._has_master, within_s=within_s, every_s=0.05)
        master, replicas = await self.master(), await self._replicas()
        for replica in replicas:
            if replica.process.poll() is not None:
                await asyncio.to_thread(replica.start)
        await self.join_replication()
        for replica in replicas:
            info = await self._info(replica)
            if info.get("role") == "master" or info.get("master_port") != master.port:
                # Unlike a Sentinel this disconnects nobody: who is still connected has to notice by itself.
                await self.command(replica.port, "REPLICAOF", "127.0.0.1", master.port)
        await eventually(self.is_whole, within_s=within_s, every_s=0.05)

    async def cut_replication(self) -> None:
        """The replica hears nothing more, and nobody else notices."""
        port = (await self.master()).port
        await self.command(port, "ACL", "SETUSER", "replica", "off")
        await self.command(port, "CLIENT", "KILL", "TYPE", "replica")

    async def join_replication(self) -> None:
        for node in self.nodes:
            with contextlib.suppress(RedisError, OSError):
                await self.command(node.port, "ACL", "SETUSER", "replica", "on")

    @asynccontextmanager
    async def patience(self) -> AsyncIterator[None]:
        """Meanwhile a silent master is not replaced: in a pause, Sentinels' own PUBLISH waits as any write does."""
        await self._set_down_after(_PATIENT_MS)
        try:
            yield
            # A ping that waited behind a pause must have been answered, or the Sentinels replace the master after all.
            await eventually(self._hears_master, within_s=10, every_s=0.02)
        finally:
            await self._set_down_after(_DOWN_AFTER_MS)

    async def fail_over(self) -> None:
        """What an operator asks of the Sentinels: promote the replica."""
        await self.command(self.sentinel_ports[0], "SENTINEL", "FAILOVER", MASTER)

    async def until_master_is_not(self, old: RedisServer, *, within_s: float = 15.0) -> RedisServer:
        """Wait for a failover; answers the new master."""

        async def has_moved() -> bool:
            master = await self.master()
            return master is not old and (await self._info(master)).get("role") == "master"

        async def has_moved_surely() -> bool:
            try:
                return await has_moved()
            except (RedisError, OSError, StopIteration):
                return False

        await eventually(has_moved_surely, within_s=within_s, every_s=0.02)
        return await self.master()

    async def _set_down_after(self, ms: int) -> None:
        for port in self.sentinel_ports:
            await self.command(port, "SENTINEL", "SET", MASTER, "down-after-milliseconds", ms)

    # Starting

    async def _start(self) -> None:
        first, *others = self.nodes
        await asyncio.to_thread(self._stack.enter_context, first)
        for other in others:
            await asyncio.to_thread(self._stack.enter_context, other)
            await self.command(other.port, "REPLICAOF", "127.0.0.1", first.port)
        self.sentinel_ports = [free_port() for _ in range(_SENTINELS)]
        for port in self.sentinel_ports:
            self._sentinels.append(self._start_sentinel(port))
        await eventually(self._is_watched, within_s=20, every_s=0.05)

    def _start_sentinel(self, port: int) -> subprocess.Popen[bytes]:
        folder = Path(self._folder.name) / str(port)
        folder.mkdir()
        (folder / "sentinel.conf").write_text(
            f"port {port}\nbind 127.0.0.1\ndir {folder}\nlogfile sentinel.log\n"
            f"sentinel monitor {MASTER} 127.0.0.1 {self.nodes[0].port} {_QUORUM}\n"
            f"sentinel down-after-milliseconds {MASTER} {_DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {MASTER} {_FAILOVER_TIMEOUT_MS}\n"
        )
        command = [str(self._binary), str(folder / "sentinel.conf"), "--sentinel"]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    async def _is_watched(self) -> bool:
        """Whether every Sentinel knows the others and the replica: before that there is no failover."""
        for port in self.sentinel_ports:
            try:
                states = await self._states(port)
            except (RedisError, OSError):
                return False
            if int(states["num-other-sentinels"]) < _SENTINELS - 1 or int(states["num-slaves"]) < len(self.nodes) - 1:
                return False
        return await self.is_whole()

    async def _hears_master(self) -> bool:
        """Whether the last ping of every Sentinel was answered, and lately."""
        states = [await self._states(port) for port in self.sentinel_ports]
        return all(
            int(state["last-ping-sent"]) == 0 and int(state["last-ok-ping-reply"]) < _DOWN_AFTER_MS / 2
            for state in states
        )

    async def _has_master(self) -> bool:
        try:
            return (await self._info(await self.master())).get("role") == "master"
        except (RedisError, OSError, StopIteration):
            return False

    async def _states(self, port: int) -> dict[str, Any]:
        return cast("dict[str, Any]", await cast("Any", self.client(port)).sentinel_master(MASTER))

    async def _named_by(self, port: int) -> int:
        """The port of the master, by one Sentinel."""
        answer = await self.command(port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER)
        return int(answer[1])

    async def _info(self, node: RedisServer) -> dict[str, Any]:
        return cast("dict[str, Any]", await self.client(node.port).info("replication"))


def _is_linked(info: dict[str, Any], master_port: int) -> bool:
    is_up = info.get("role") == "slave" and info.get("master_link_status") == "up"
    return is_up and info.get("master_port") == master_port


def _written_at_ns(line: str) -> int:
    """The time of a line of a log: `4720:X 26 Nov 2026 16:22:47.276 # …`, in the time zone of this machine."""
    words = " ".join(line.split()[1:5])
    return round(datetime.strptime(words, "%d %b %Y %H:%M:%S.%f").timestamp() * 1e9)  # it has no zone


def running_sentinels(kind: ServerKind = "redis7", *, args: Sequence[str] = ()) -> SentinelGroup:
    """A group to be entered with `async with`. Raises `ServerMissing` if the machine has no such server."""
    return SentinelGroup(kind, args=args)


@asynccontextmanager
async def sentinel_of(server: RedisServer) -> AsyncIterator[str]:
    """The address of a master by the name `main`, seen by one sentinel."""
    port = free_port()
    config = server.directory / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {server.directory}\nlogfile sentinel.log\n"
        f"sentinel monitor main 127.0.0.1 {server.port} 1\n"
        "sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 2000\n"
    )
    process = await asyncio.create_subprocess_exec(server.binary, str(config), "--sentinel")
    try:
        yield f"redis+sentinel://127.0.0.1:{port}/main"
    finally:
        process.kill()
        await process.wait()
