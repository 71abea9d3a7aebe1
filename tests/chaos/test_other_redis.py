"""Rows that need another Redis than the cluster's: one behind an address that moves, and one whose disk is full."""

import asyncio
import os
import random
import shutil
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest
from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.conftest import missing
from tests.support.calls import ask
from tests.support.proxy import proxied
from tests.support.redis_server import RedisServer, free_port, running_redis, server_binary
from tests.support.script import Script, expected
from tests.support.sse_client import History, follow
from tests.support.stack import Stack, running_stack
from tests.support.waiting import eventually

__all__ = ()

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120), pytest.mark.chaos]

_SLACK_S = 2.0
_QUICK: dict[str, Any] = {"lease_s": 3, "heartbeat_s": 0.8, "sweep_s": 0.5, "store_stall_s": 4, "redis_timeout_s": 2}


@asynccontextmanager
async def running(redis_url: str, prefix: str) -> AsyncIterator[Stack]:
    """Two edges and a worker. They start in a thread, because what they talk to may be a proxy of this loop."""
    with ExitStack() as stack:
        made = running_stack(redis_url=redis_url, prefix=prefix, edges=2, workers=1, **_QUICK)
        yield await asyncio.to_thread(stack.enter_context, made)


@asynccontextmanager
async def streaming(stack: Stack, scripts: list[Script]) -> AsyncIterator[list[History]]:
    """Streams with two readers each, all of which have their first text. Ends when they have come to their ends."""
    ids = [await ask(stack.ports[0], script) for script in scripts]
    histories = [History(stream_id) for stream_id in ids for _ in range(2)]
    async with asyncio.TaskGroup() as group:
        for number, history in enumerate(histories):
            chance = random.Random(number)
            group.create_task(follow(stack.ports, history.stream_id, chance=chance, history=history))

        async def have_text() -> bool:
            return all(history.parts for history in histories)

        await eventually(have_text, within_s=20)
        yield histories


class Handover(NamedTuple):
    """Clients of a master and of its replica, and what is read meanwhile behind an address that leads to the master."""

    old: Any
    new: Any
    new_port: int
    histories: list[History]


@asynccontextmanager
async def handed_over(prefix: str, *, chunks: int) -> AsyncIterator[Handover]:
    """Once the replica is the master the address moves to it. Nothing is lost, so all go on and nobody may be reset."""
    scripts = [Script(f"{prefix}.{number}", chunks=chunks, rate=30) for number in range(4)]
    with running_redis("redis7") as old, running_redis("redis7") as new:
        async with proxied(old.port) as address, clients(old, new) as (old_client, new_client):
            await new_client.execute_command("REPLICAOF", "127.0.0.1", old.port)
            await eventually(lambda: is_linked(new_client), within_s=15)
            url = f"redis://127.0.0.1:{address.port}/0"
            async with running(url, prefix) as stack, streaming(stack, scripts) as histories:
                yield Handover(old_client, new_client, new.port, histories)
                address.target_port = new.port
                assert await until_all_go_on(histories) < 3 + _SLACK_S
    assert all(history.resets == [] for history in histories)
    assert [history.spoken() for history in histories] == [expected(script) for script in scripts for _ in range(2)]


async def test_row_11_planned_failover() -> None:
    """`FAILOVER` waits for the replica."""
    async with handed_over("row11", chunks=100) as (old, new, new_port, _):
        await old.execute_command("FAILOVER", "TO", "127.0.0.1", new_port, "TIMEOUT", 2000)
        await eventually(lambda: is_master(new), within_s=5)


async def test_row_11_demoted_by_hand() -> None:
    """A plain `REPLICAOF` closes no connection, and the address moves late.

    What is demoted has no link either: whoever went on reading there would hear nothing ever again.
    """
    async with handed_over("row11.hand", chunks=150) as (old, new, _, histories):
        await old.execute_command("CLIENT", "PAUSE", 10_000, "WRITE")
        await eventually(lambda: are_level(old, new), within_s=5)
        await new.execute_command("REPLICAOF", "NO", "ONE")
        await old.execute_command("REPLICAOF", "127.0.0.1", free_port())
        await old.execute_command("CLIENT", "UNPAUSE")
        await until_held_up(histories)


async def test_row_13_disk_full(tmp_path: Path) -> None:
    """Reads go on, live streams end one way or the other, and with room again new streams are taken."""
    scripts = [Script(f"row13.{number}", chunks=280, rate=40) for number in range(3)]
    before, after = Script("row13.before", chunks=5), Script("row13.after", chunks=5)
    with redis_on_a_small_disk(tmp_path) as disk:
        async with running(disk.url, "row13") as stack:
            done = await ask(stack.ports[0], before)
            await follow(stack.ports, done)
            async with streaming(stack, scripts) as histories:
                disk.fill()
                await eventually(disk.refuses, within_s=15)
                assert (await follow(stack.ports, done)).spoken() == expected(before)
                await until_held_up(histories)
                disk.free()
                await eventually(disk.accepts, within_s=15)
            assert all(history.ending and history.ending["type"] in {"done", "error"} for history in histories)
            assert (await follow(stack.ports, await ask(stack.ports[0], after))).spoken() == expected(after)


async def until_all_go_on(histories: list[History]) -> float:
    """Wait until every reader has had news or is through. Answers how long that took, in seconds."""
    loop = asyncio.get_running_loop()
    began, before = loop.time(), [len(history.ids) for history in histories]

    async def do_all_go_on() -> bool:
        return all(len(h.ids) > held or h.ending for h, held in zip(histories, before, strict=True))

    await eventually(do_all_go_on, within_s=20)
    return loop.time() - began


async def until_held_up(histories: list[History]) -> None:
    """Wait until no reader has had news for half a second."""
    held = [-1]

    async def are_held_up() -> bool:
        before, held[:] = list(held), [len(history.ids) for history in histories]
        return before == held

    await eventually(are_held_up, within_s=15, every_s=0.5)


class SmallDisk:
    """A Redis whose append-only file is on a disk of a few hundred KB, in a mount namespace of its own."""

    def __init__(self, process: subprocess.Popen[str], port: int, folder: Path) -> None:
        self.url = f"redis://127.0.0.1:{port}/0"
        self._process = process
        self._port = port
        # What that process sees at this path, seen from here.
        self._ballast = Path(f"/proc/{process.pid}/root{folder}/ballast")

    def fill(self) -> None:
        """Take all the room that is left."""
        with self._ballast.open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(b"\0" * 4096)
            except OSError:
                return

    def free(self) -> None:
        self._ballast.unlink()

    async def refuses(self) -> bool:
        return not await self.accepts()

    async def accepts(self) -> bool:
        client = Redis(port=self._port)
        try:
            await client.set("row13:probe", "x" * 8192)
        except RedisError:
            return False
        finally:
            await client.aclose()
        return True


@contextmanager
def redis_on_a_small_disk(folder: Path) -> Iterator[SmallDisk]:
    unshare, port = shutil.which("unshare"), free_port()
    if unshare is None:
        missing("no unshare, so no disk of its own for a Redis")
    options = f"--port {port} --bind 127.0.0.1 --dir {folder} --save '' --appendonly yes --appendfsync everysec"
    mount = f"mount -t tmpfs -o size=600k tmpfs {folder}"
    server = f"exec {server_binary('redis7')} {options} --auto-aof-rewrite-percentage 0 --logfile ''"
    as_root = [] if os.geteuid() == 0 else ["-r"]
    command = [unshare, "-m", *as_root, "sh", "-c", f"{mount} && {server}"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert process.stdout is not None
        said: list[str] = []
        while process.poll() is None and "Ready to accept" not in "".join(said):
            said.append(process.stdout.readline())
        if process.poll() is not None:
            missing(f"no disk of its own for a Redis: {''.join(said)}")
        yield SmallDisk(process, port, folder)
    finally:
        process.kill()
        process.communicate()


@asynccontextmanager
async def clients(*servers: RedisServer) -> AsyncIterator[list[Any]]:
    found = [Redis(port=server.port, socket_timeout=5) for server in servers]
    try:
        yield [cast("Any", client) for client in found]
    finally:
        for client in found:
            await client.aclose()


async def are_level(master: Any, replica: Any) -> bool:
    above, below = await master.info("replication"), await replica.info("replication")
    return bool(above["master_repl_offset"] == below["slave_repl_offset"])


async def is_linked(client: Any) -> bool:
    return bool((await client.info("replication")).get("master_link_status") == "up")


async def is_master(client: Any) -> bool:
    return bool((await client.info("replication"))["role"] == "master")
