"""Signals: told to stop, every process drains first, whichever signal says so, however often, and however early."""

import asyncio
import contextlib
import json
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from services.local.port import free_port
from services.local.readiness import is_ok
from tests.cli.command import Command, running
from tests.support.service import ours
from tests.support.waiting import eventually

__all__ = ()

DRAIN_S = 2.0
# How late a busy machine may be.
LATE_S = 0.4


def complaints(command: Command) -> list[str]:
    """What an operator would take for trouble."""
    lines = command.err.decode().splitlines()
    return [line for line in lines if not line.startswith("{") or json.loads(line)["level"] in {"error", "critical"}]


async def ready(port: int) -> None:
    await eventually(lambda: is_ok(f"http://127.0.0.1:{port}/readyz"), within_s=40, every_s=0.05)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_an_edge_drains(redis_url: str, tmp_path: Path, number: signal.Signals) -> None:
    port = free_port()
    environment = ours(redis_url=redis_url, edge_drain_s=DRAIN_S)
    async with running("edge", "--port", str(port), cwd=tmp_path, environment=environment) as command:
        await ready(port)
        command.process.send_signal(number)
        assert await command.end(within_s=10) == 0
    assert b'"draining"' in command.err
    assert complaints(command) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_a_worker_drains(redis_url: str, tmp_path: Path, number: signal.Signals) -> None:
    environment = ours(redis_url=redis_url, worker_drain_s=1, prefix=f"test-cli-{free_port()}")
    async with running("worker", cwd=tmp_path, environment=environment) as command:
        await command.until("worker ready")
        command.process.send_signal(number)
        assert await command.end(within_s=10) == 0
    assert b'"draining"' in command.err
    assert complaints(command) == []


async def test_who_was_told_to_outlive_its_terminal_does(redis_url: str, tmp_path: Path) -> None:
    """`nohup tailrace edge`."""
    port = free_port()
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # inherited
    try:
        environment = ours(redis_url=redis_url, edge_drain_s=DRAIN_S)
        async with running("edge", "--port", str(port), cwd=tmp_path, environment=environment) as command:
            await ready(port)
            command.process.send_signal(signal.SIGHUP)
            await asyncio.sleep(0.5)  # as long as it takes to stop
            assert await is_ok(f"http://127.0.0.1:{port}/readyz")
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
async def test_to_be_told_twice_is_quiet_and_quick(redis_url: str, tmp_path: Path, second: signal.Signals) -> None:
    port = free_port()
    environment = ours(redis_url=redis_url, edge_drain_s=20)
    async with running("edge", "--port", str(port), cwd=tmp_path, environment=environment) as command:
        await ready(port)
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        # Waits for its body, and would be waited for.
        writer.write(b"POST /v1/streams HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n")
        await asyncio.sleep(0.2)
        command.process.send_signal(signal.SIGTERM)
        await command.until("draining")
        command.process.send_signal(second)
        assert await command.end(within_s=2) == 0
        writer.transport.abort()
    assert complaints(command) == []


@pytest.mark.slow
@pytest.mark.parametrize("role", ["edge", "worker"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_to_be_told_while_starting_is_an_ordinary_end(
    redis_url: str, tmp_path: Path, role: str, number: signal.Signals
) -> None:
    """At every moment from the first line of ours on; before that it is Python's own start that ends."""
    arguments = [role, "--port", str(free_port())] if role == "edge" else [role]
    environment = ours(redis_url=redis_url, edge_drain_s=1, worker_drain_s=1, prefix=f"test-cli-{free_port()}")
    for step in range(10):
        async with running(*arguments, cwd=tmp_path, environment=environment) as command:
            await eventually(partial(catches, command, number), within_s=40, every_s=0.001)
            await asyncio.sleep(0.1 * step)  # another moment of the start each time
            command.process.send_signal(number)
            assert await command.end(within_s=20) == 0, step
        assert complaints(command) == []


async def catches(command: Command, number: signal.Signals) -> bool:
    """Whether the process has a handler of its own for a signal."""
    status = Path(f"/proc/{command.process.pid}/status").read_text()  # noqa: ASYNC240  of the kernel's memory
    (mask,) = [line.split()[1] for line in status.splitlines() if line.startswith("SigCgt:")]
    return bool(int(mask, 16) >> (number - 1) & 1)


async def test_the_time_to_drain_is_kept(redis_url: str, tmp_path: Path) -> None:
    """By requests under way, and by connections on which nothing comes."""
    port = free_port()
    environment = ours(redis_url=redis_url, edge_drain_s=0.5)
    unfinished = b"POST /v1/streams HTTP/1.1\r\nhost: localhost\r\ncontent-length: 10\r\n\r\n"
    async with running("edge", "--port", str(port), cwd=tmp_path, environment=environment) as command:
        await ready(port)
        opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
        for (_, writer), said in zip(opened, (unfinished, unfinished + b"x", b"GET /v1/st", b""), strict=True):
            writer.write(said)
        await asyncio.sleep(0.2)
        began = time.monotonic()
        command.process.send_signal(signal.SIGTERM)
        for reader, writer in opened:
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
            writer.transport.abort()
        assert time.monotonic() - began < 0.5 + LATE_S
        assert await command.end(within_s=10) == 0
    assert complaints(command) == []
