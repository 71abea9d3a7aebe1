"""`tailrace up`, whole: real Redis, workers and edges as its children, a real question, Ctrl-C."""

import asyncio
import json
import os
import random
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from services.console.failure import Failure
from services.local.model import find_weights
from services.local.port import is_free
from tests.cli.command import Command, Said, running, say
from tests.conftest import missing
from tests.support.provider import scripted_provider
from tests.support.redis_server import ServerMissing, running_redis
from tests.support.service import ours
from tests.support.waiting import eventually

__all__ = ()

# Four to six processes start in each test, on two cores that other tests may be using.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]
START_S = 90.0


def two_free_ports() -> int:
    """The first of two free ports that follow each other, below those that outgoing connections are given."""
    while True:
        port = random.randrange(20_000, 32_000)
        if is_free(port) and is_free(port + 1):
            return port


def ready(command: Command) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(command.out.splitlines()[0])
    return fields


def children(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


async def stopped(command: Command, number: signal.Signals = signal.SIGINT) -> None:
    """Stop it as a person would, and see that nothing is left of it."""
    pids, began_s = children(command.process.pid), time.monotonic()
    command.process.send_signal(number)
    assert await command.end(within_s=10) == 0
    assert time.monotonic() - began_s < 5
    assert running_of(pids) == []


def running_of(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


async def asked(command: Command, cwd: Path, question: str) -> Said:
    urls = [word for url in ready(command)["edges"] for word in ("--url", url)]
    return await say("ask", question, *urls, "-o", "text", cwd=cwd)


async def test_a_question_goes_the_whole_way_and_streams_survive_a_restart(tmp_path: Path) -> None:
    async with scripted_provider(chunks=5) as provider:
        table = f'[[providers]]\nname = "p"\nbase_url = "{provider.base_url}"\nmodels = ["scripted"]\n'
        (tmp_path / "tailrace.toml").write_text(table)
        port = str(two_free_ports())
        async with running("up", "--port", port, "--no-model", cwd=tmp_path) as command:
            await command.until('"ready"', within_s=START_S)
            answer = await asked(command, tmp_path, "Hello?")
            assert answer.code == 0, answer.err
            assert answer.out
            stream_id = answer.err.partition("tailrace tail ")[2].split()[0]
            other = await say("up", "--port", str(two_free_ports()), cwd=tmp_path)
            assert other.code == 1
            assert f"runs here already (process {command.process.pid})" in other.err
            await stopped(command)
        assert sorted(os.listdir(tmp_path)) == [".tailrace", "tailrace.toml"]
        async with running("up", "--port", port, "--edges", "1", cwd=tmp_path) as command:
            await command.until('"ready"', within_s=START_S)
            again = await say("tail", stream_id, "--url", *ready(command)["edges"], "-o", "text", cwd=tmp_path)
            await stopped(command, signal.SIGTERM)
    assert again.out == answer.out


async def test_what_is_offered_is_what_the_provider_lists(tmp_path: Path) -> None:
    async with scripted_provider(chunks=5) as provider:
        (tmp_path / "tailrace.toml").write_text(table(provider.base_url, "scr*"))
        port = two_free_ports()
        async with running("up", "--port", str(port), "--edges", "1", cwd=tmp_path) as command:
            await command.until('"ready"', within_s=START_S)
            assert ready(command)["models"] == ["scripted"]
            assert b'"process":"redis"' not in command.err, "what Redis says is no news unless it fails"
            answer = await asked(command, tmp_path, "Hello?")
            found = {line["check"]: line for line in (await say("doctor", cwd=tmp_path, environment=ours())).lines}
            await stopped(command)
    assert answer.code == 0, answer.err
    assert f"http://127.0.0.1:{port}" in found["up"]["detail"]
    assert found[f"edge http://127.0.0.1:{port}"]["status"] == "ok"
    assert [(name, line["detail"]) for name, line in found.items() if line["status"] == "failed"] == []
    assert found["eviction"]["status"] == "ok", "it looked at the Redis that up started"


def table(base_url: str, model: str, more: str = "") -> str:
    return f'[[providers]]\nname = "p"\nbase_url = "{base_url}"\nmodels = ["{model}"]\n{more}'


async def test_a_key_that_is_missing_stops_it_before_anything_starts(tmp_path: Path) -> None:
    keyless = table("https://models.example/v1", "gpt-*", 'api_key_env = "NO_SUCH_KEY"\n')
    (tmp_path / "tailrace.toml").write_text(keyless)
    said = await say("up", "--port", str(two_free_ports()), cwd=tmp_path, environment=ours())
    assert said.code == 1
    assert "its key is missing: NO_SUCH_KEY is not set" in said.err
    assert "export NO_SUCH_KEY=" in said.err
    assert not (tmp_path / ".tailrace" / "redis").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_stopped_while_it_looks_around_it_has_done_what_it_was_told(
    tmp_path: Path, number: signal.Signals
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        (tmp_path / "tailrace.toml").write_text(table(f"http://127.0.0.1:{mute.getsockname()[1]}/v1", "m"))
        async with running("up", "--port", str(two_free_ports()), "--no-model", cwd=tmp_path) as command:
            mute.settimeout(20)
            connection, _ = await asyncio.to_thread(mute.accept)
            with connection:
                command.process.send_signal(number)
                assert await command.end(within_s=4) == 0
    assert b"Traceback" not in command.err


async def test_a_redis_that_wants_a_password_is_no_silent_one(tmp_path: Path) -> None:
    try:
        server = running_redis("redis7", args=("--requirepass", "canary"))
    except ServerMissing as reason:
        missing(str(reason))
    with server:
        said = await say("up", "--port", str(two_free_ports()), cwd=tmp_path, environment=ours(redis_url=server.url))
    assert said.code == 1
    assert "refuses: Authentication required" in said.err
    assert "redis://:PASSWORD@" in said.err


async def test_a_given_redis_is_used_and_a_crash_is_repaired(redis_url: str, tmp_path: Path) -> None:
    environment = ours(redis_url=redis_url, prefix=f"test-up-{os.getpid()}")
    port = two_free_ports()
    up = running("up", "--port", str(port), "--no-model", cwd=tmp_path, environment=environment)
    async with up as command:
        await command.until('"ready"', within_s=START_S)
        assert not (tmp_path / ".tailrace" / "redis").exists()
        edge = next(pid for pid in children(command.process.pid) if f"--port\0{port}\0".encode() in command_line(pid))
        os.kill(edge, signal.SIGKILL)
        await command.until(f"edge-{port} ended with SIGKILL; starting it again")
        await eventually(lambda: says_twice(command, f'"url":"http://127.0.0.1:{port}"'), within_s=20)
        await stopped(command)


async def says_twice(command: Command, words: str) -> bool:
    return command.err.count(words.encode()) == 2


def command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


async def test_killed_it_leaves_nothing_behind(tmp_path: Path) -> None:
    async with running("up", "--port", str(two_free_ports()), "--no-model", cwd=tmp_path) as command:
        await command.until('"ready"', within_s=START_S)
        pids = children(command.process.pid)
        assert len(pids) == 4
        command.process.kill()
        await command.end()
        await eventually(lambda: all_gone(pids), within_s=10)


async def all_gone(pids: list[int]) -> bool:
    return running_of(pids) == []


async def test_a_taken_port_stops_it_before_anything_starts(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        said = await say("up", "--port", str(taken.getsockname()[1]), cwd=tmp_path)
    assert said.code == 1
    assert "is taken by another process" in said.err
    assert os.listdir(tmp_path) == []


@pytest.mark.model
async def test_with_nothing_configured_the_built_in_model_answers(tmp_path: Path) -> None:
    try:
        find_weights()
    except Failure as reason:
        missing(reason.message)
    async with running("up", "--port", str(two_free_ports()), cwd=tmp_path, terminal=True) as command:
        await command.until("Tailrace is up", within_s=START_S)
        await command.until("curl -N ")
        shown = re.sub(r"\x1b\[[0-9;]*m", "", command.out.decode())
        url = shown.partition("chat")[2].split()[0]
        answer = await say("ask", "Say hello.", "--max-tokens", "8", "--url", url, "-o", "text", cwd=tmp_path)
        await stopped(command)
    assert "smollm2 (built in and tiny: fluent but often wrong)" in shown
    assert "second edge" in shown
    assert "Ctrl-C" in shown
    assert answer.code == 0, answer.err
    assert answer.out.strip()
