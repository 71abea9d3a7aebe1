"""Finding and starting a Redis: real servers, and what the options really do."""

import asyncio
import io
import os
import shutil
import socket
import stat
from pathlib import Path

import pytest

from services.console.exit_code import ExitCode
from services.console.failure import Failure
from services.local.folder import Folder
from services.local.forwarder import Forwarder
from services.local.port import free_port, is_free
from services.local.redis import Server, answers, find_server, redis_program
from services.local.supervisor import Supervisor
from shared.store.redis.client import open_client
from tests.conftest import missing
from tests.support.redis_server import KINDS, ServerKind, ServerMissing, server_binary

__all__ = ()


def server_on_path(folder: Path, said: str, *, name: str = "redis-server") -> None:
    script = folder / name
    script.write_text(f"#!/bin/sh\necho '{said}'\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A PATH with nothing on it but what the test puts there."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


@pytest.mark.parametrize(
    ("said", "shown", "data"),
    [
        ("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64 build=a", "Redis 7.0.15", "redis-7"),
        ("Valkey server v=8.1.0 sha=00000000:0 malloc=jemalloc bits=64 build=a", "Valkey 8.1.0", "valkey-8"),
    ],
)
def test_a_new_server_on_path_is_taken(path: Path, said: str, shown: str, data: str) -> None:
    server_on_path(path, said)
    found = find_server()
    assert (found.binary, str(found), found.data_name) == (path / "redis-server", shown, data)


@pytest.mark.parametrize("said", [None, "Redis server v=6.2.14 sha=0", "gibberish", ""])
def test_else_the_bundled_valkey_is_taken(path: Path, said: str | None) -> None:
    if said is not None:
        server_on_path(path, said)
    try:
        bundled = server_binary("valkey9")
    except ServerMissing as reason:
        missing(str(reason))
    assert find_server().binary == bundled


def test_without_any_the_ways_out_are_named(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server_on_path(path, "Redis server v=6.2.14 sha=0")
    monkeypatch.setattr("services.local.redis.find_spec", lambda _: None)
    with pytest.raises(Failure, match=r"only Redis 6\.2\.14") as failure:
        find_server()
    assert "TAILRACE_REDIS_URL" in failure.value.hint


@pytest.mark.parametrize("kind", KINDS)
async def test_it_keeps_what_was_written_and_never_evicts(tmp_path: Path, kind: ServerKind) -> None:
    server = installed(kind)
    folder = Folder(tmp_path / ".tailrace")
    await folder.acquire()
    for expected in (None, b"kept"):
        url = f"redis://127.0.0.1:{free_port()}/0"
        program = redis_program(server, folder, url=url, environment=dict(os.environ))
        supervisor = Supervisor([[program]], Forwarder(io.StringIO(), "text"))

        async def look(url: str = url, expected: bytes | None = expected, supervisor: Supervisor = supervisor) -> None:
            client = open_client(url)
            assert await client.get("key") == expected
            info = await client.info()
            assert (info["maxmemory_policy"], info["aof_enabled"]) == ("noeviction", 1)
            settings = await client.config_get()
            assert (settings["appendfsync"], settings["bind"], settings["save"]) == ("everysec", "127.0.0.1", "")
            await client.set("key", "kept")
            await client.aclose()
            supervisor.end()

        async with asyncio.timeout(20):
            assert await supervisor.run(look) is ExitCode.OK
        assert not await answers(url)
    assert [each.name for each in (tmp_path / ".tailrace" / "redis").iterdir()] == [server.data_name]
    folder.release()


def installed(kind: ServerKind) -> Server:
    try:
        binary = server_binary(kind)
    except ServerMissing as reason:
        missing(str(reason))
    return Server(binary, kind[:-1], (int(kind[-1]), 0, 0))


def test_a_taken_port_is_avoided() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert not is_free(port)
        assert free_port(port) != port
    assert free_port(port) == port


def test_the_machine_has_some_server() -> None:
    if shutil.which("redis-server") is None:
        missing("no redis-server on PATH")
    assert find_server().version >= (7,)
