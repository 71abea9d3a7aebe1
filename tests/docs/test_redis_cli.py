"""docs/redis-cli.md is true: each of its commands, run on a stream as it is there, answers as it says there."""

import re
import shlex
import shutil
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from shared.log import events
from shared.log.events import delta
from shared.log.keys import Keyspace
from shared.queue.jobs import JobQueue
from shared.queue.workers import Workers, WorkerSeen
from shared.store.calls import Append, Claim, NewStream, Retention
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from shared.store.replies import Appended, Claimed, Created, Deleted
from tests.conftest import own_server
from tests.support.redis_server import RedisServer

__all__ = ()

PAGE = Path(__file__).parents[2] / "docs" / "redis-cli.md"
STREAM_ID = "3fa1c09b2d7e4f5a8b6c0d1e2f3a4b5c"
RETENTION = Retention(live_ms=3_600_000, retain_ms=3_600_000, tombstone_ms=86_400_000)
REQUEST = b'{"model":"smollm2","messages":[{"role":"user","content":"Who are you?"}]}'
FIRST, SECOND = "9f2c01ab", "51d7e0c4"

# A session in the page, under its heading: the command after the prompt, then what it prints.
SECTION = re.compile(r"^## (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
SESSION = re.compile(r"^```console\n\$ redis-cli (.+?)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What differs from run to run: times in ms, and a time to live in s.
VOLATILE = re.compile(r"\b1\d{12}\b|(?<=\(integer\) )(3[56]\d\d|8639\d|86400)\b")
UNORDERED = {"HGETALL", "--scan"}


async def begin(store: RedisStore) -> None:
    new = NewStream(STREAM_ID, tenant="acme", model="smollm2", request=REQUEST)
    assert isinstance(await store.create(new, RETENTION), Created)
    claim = Claim(FIRST, "worker-a:4711", lease_ms=10_000)
    assert isinstance(await store.claim(STREAM_ID, claim, RETENTION), Claimed)
    text = [delta("text", part) for part in ("I am", " a small", " langu")]
    await append(store, Append(STREAM_ID, FIRST, 0, text, 12, {"provider": "local"}))


async def take_over(store: RedisStore) -> None:
    claim = Claim(SECOND, "worker-b:4712", lease_ms=10_000, mode="continue", reason="lease", holder=FIRST)
    assert isinstance(await store.claim(STREAM_ID, claim, RETENTION), Claimed)
    spent = {"usage:1": "by=local bytes=18"}
    await append(store, Append(STREAM_ID, SECOND, 12, [delta("text", " model.")], 19, spent))


async def end(store: RedisStore) -> None:
    updates = {"finish_reason": "stop", "usage:2": "by=local in=17 out=6 total=23"}
    await append(store, Append(STREAM_ID, SECOND, 19, [events.done("stop")], 20, updates))


async def delete(store: RedisStore) -> None:
    assert await store.delete(STREAM_ID, RETENTION) == Deleted()


async def wait(store: RedisStore) -> None:
    assert await JobQueue(store.client, store.keys).put(STREAM_ID, attempt=0, tenant="acme")
    await Workers(store.client, store.keys).announce(WorkerSeen("worker-a:4711", "0.1.0", 3, 1000))


async def append(store: RedisStore, call: Append) -> None:
    (reply,) = await store.append([call], RETENTION)
    assert isinstance(reply, Appended)


STATES: dict[str, Callable[[RedisStore], Awaitable[None]]] = {
    "A stream that is being written": begin,
    "After a worker has died": take_over,
    "When it is over": end,
    "When it was deleted": delete,
    "The queue and the workers": wait,
}


def sessions(heading: str) -> list[tuple[list[str], str]]:
    """The commands of a section and what the page says they print."""
    text = dict(SECTION.findall(PAGE.read_text("utf-8")))[heading]
    return [(shlex.split(command), output) for command, output in SESSION.findall(text)]


def run_cli(url: str, command: Sequence[str]) -> str:
    """What redis-cli prints on a terminal; without it, the same from redis-py."""
    found = shutil.which("redis-cli")
    if found is None:
        return run_library(url, command)
    arguments = [found, "-u", url, "--no-raw", *command]
    return subprocess.run(arguments, capture_output=True, text=True, timeout=10, check=True).stdout


def run_library(url: str, command: Sequence[str]) -> str:
    client = redis.Redis.from_url(url)
    try:
        if command[0] == "--scan":
            return "".join(f'"{key.decode()}"\n' for key in client.scan_iter(match=command[2]))
        client.response_callbacks.clear()
        return "\n".join(printed(client.execute_command(*command))) + "\n"  # type: ignore[no-untyped-call]
    finally:
        client.close()


def printed(reply: Any, indent: str = "") -> list[str]:
    """A reply as redis-cli shows it to people."""
    if isinstance(reply, int):
        return [f"(integer) {reply}"]
    if isinstance(reply, bytes):
        return [quoted(reply)]
    if reply is None:
        return ["(nil)"]
    if not reply:
        return ["(empty array)"]
    return list(printed_list(reply, indent))


def printed_list(reply: Sequence[Any], indent: str) -> list[str]:
    lines: list[str] = []
    width = len(str(len(reply)))
    for number, item in enumerate(reply, 1):
        label = f"{number:>{width}}) "
        first, *rest = printed(item, indent + " " * len(label))
        lines += [f"{indent if lines else ''}{label}{first}", *rest]
    return lines


def quoted(value: bytes) -> str:
    escaped = value.decode().replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def shape(command: Sequence[str], output: str) -> list[str]:
    lines = VOLATILE.sub("N", output).splitlines()
    if command[0] == "HGETALL":
        values = [re.sub(r"^ *\d+\) ", "", line) for line in lines]
        lines = [f"{name} {value}" for name, value in zip(values[::2], values[1::2], strict=True)]
    return sorted(lines) if command[0] in UNORDERED else lines


@pytest.fixture
async def server() -> AsyncIterator[RedisServer]:
    async with own_server("redis7") as server:
        yield server


async def test_the_page_tells_the_truth(server: RedisServer) -> None:
    store = RedisStore(open_client(server.url), Keyspace())
    for heading, make_so in STATES.items():
        await make_so(store)
        for command, output in sessions(heading):
            assert shape(command, run_cli(server.url, command)) == shape(command, output), f"{heading}: {command}"
    await store.aclose()


async def test_without_redis_cli_the_same_is_seen(server: RedisServer) -> None:
    store = RedisStore(open_client(server.url), Keyspace())
    for heading, make_so in STATES.items():
        await make_so(store)
        for command, _ in sessions(heading):
            assert shape(command, run_library(server.url, command)) == shape(command, run_cli(server.url, command))
    await store.aclose()


def test_every_section_has_commands() -> None:
    assert {heading: bool(sessions(heading)) for heading in STATES} == dict.fromkeys(STATES, True)
    text = PAGE.read_text("utf-8")
    assert sum(len(sessions(heading)) for heading in STATES) == text.count("```console")
