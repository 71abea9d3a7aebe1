"""`tailrace edge` and `tailrace worker` in the foreground: ready, refusing, stopping."""

import asyncio
import json
import signal
import socket
from pathlib import Path

import pytest

from services.local.port import free_port
from services.local.readiness import is_ok
from tests.cli.command import Command, running, say
from tests.conftest import missing
from tests.support.redis_server import ServerMissing, running_redis
from tests.support.service import ours
from tests.support.waiting import eventually

__all__ = ()


def log_of(command: Command) -> list[dict[str, object]]:
    return [json.loads(line) for line in command.err.decode().splitlines()]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_edge_gets_ready_and_stops(redis_url: str, tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    environment = ours(redis_url=redis_url, edge_drain_s=1)
    async with running("edge", "--port", str(port), cwd=tmp_path, environment=environment) as command:
        await eventually(lambda: is_ok(f"http://127.0.0.1:{port}/readyz"), within_s=20, every_s=0.05)
        command.process.send_signal(number)
        assert await command.end(within_s=10) == 0
    assert command.out == b""
    assert {line["process"] for line in log_of(command)} == {f"edge-{port}"}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_gets_ready_and_stops(redis_url: str, tmp_path: Path, number: signal.Signals) -> None:
    environment = ours(redis_url=redis_url, worker_drain_s=1, prefix=f"test-cli-{free_port()}")
    async with running("worker", cwd=tmp_path, environment=environment) as command:
        await command.until("worker ready")
        command.process.send_signal(number)
        assert await command.end(within_s=10) == 0
    assert command.out == b""


@pytest.mark.parametrize("name", ["edge", "worker"])
async def test_ctrl_c_during_the_start_is_a_stop_like_any_other(tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute.settimeout(30)
        environment = ours(redis_url=f"redis://127.0.0.1:{mute.getsockname()[1]}/0", edge_port=0)
        async with running(name, cwd=tmp_path, environment=environment) as command:
            connection, _ = await asyncio.to_thread(mute.accept)
            with connection:
                command.process.send_signal(signal.SIGINT)
                assert await command.end(within_s=10) == 0
    assert b"Traceback" not in command.err


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
async def test_an_edge_for_everybody_does_not_start_unless_that_is_wanted(tmp_path: Path, host: str) -> None:
    """Nobody has to say who they are, so whoever reaches it could spend the key."""
    said = await say("edge", "--host", host, "--port", "0", cwd=tmp_path, environment=ours())
    assert said.code == 1
    assert host in said.err
    assert "no authentication" in said.err
    assert "TAILRACE_ALLOW_ANONYMOUS=1" in said.err


async def test_an_edge_for_everybody_starts_if_that_is_wanted(redis_url: str, tmp_path: Path) -> None:
    port = free_port()
    environment = ours(redis_url=redis_url, allow_anonymous=1)
    async with running("edge", "--host", "0.0.0.0", "--port", str(port), cwd=tmp_path, environment=environment):
        await eventually(lambda: is_ok(f"http://127.0.0.1:{port}/readyz"), within_s=20, every_s=0.05)


async def test_an_edge_starts_before_its_redis(tmp_path: Path) -> None:
    port, redis_port = free_port(), free_port()
    environment = ours(redis_url=f"redis://127.0.0.1:{redis_port}/0")
    async with running("edge", "--port", str(port), cwd=tmp_path, environment=environment) as command:
        await eventually(lambda: is_ok(f"http://127.0.0.1:{port}/livez"), within_s=20, every_s=0.05)
        assert not await is_ok(f"http://127.0.0.1:{port}/readyz")
        assert b"Redis does not answer yet" in command.err


@pytest.mark.parametrize("arguments", [["edge", "--port", "0"], ["worker"]])
async def test_a_redis_that_evicts_is_refused(tmp_path: Path, arguments: list[str]) -> None:
    try:
        server = running_redis("redis7", args=("--maxmemory-policy", "allkeys-lru"))
    except ServerMissing as reason:
        missing(str(reason))
    async with server:
        said = await say(*arguments, cwd=tmp_path, environment=ours(redis_url=server.url))
    assert said.code == 1
    assert "allkeys-lru: Redis may drop streams" in said.err
    assert "TAILRACE_ALLOW_EVICTION=1" in said.err


async def test_a_redis_that_evicts_is_taken_if_that_is_allowed(tmp_path: Path) -> None:
    try:
        server = running_redis("redis7", args=("--maxmemory-policy", "allkeys-lru"))
    except ServerMissing as reason:
        missing(str(reason))
    port = free_port()
    async with server:
        environment = ours(redis_url=server.url, allow_eviction="true")
        async with running("edge", "--port", str(port), cwd=tmp_path, environment=environment):
            await eventually(lambda: is_ok(f"http://127.0.0.1:{port}/readyz"), within_s=20, every_s=0.05)


async def test_a_taken_port_is_said(redis_url: str, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = await say("edge", "--port", port, cwd=tmp_path, environment=ours(redis_url=redis_url))
    assert said.code == 1
    assert f"cannot listen on 127.0.0.1:{port}" in said.err
    assert "Traceback" not in said.err


@pytest.mark.parametrize("command", ["edge", "worker", "model", "up"])
async def test_a_wrong_setting_is_one_line(tmp_path: Path, command: str) -> None:
    said = await say(command, cwd=tmp_path, environment=ours(rediss_url="x"))
    assert said.code == 1
    assert said.err.startswith("error: unknown environment variables: TAILRACE_REDISS_URL\nhint:  ")
