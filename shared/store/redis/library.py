"""Our Lua functions as one Redis library, named after its content.

A name with a hash lets two versions of Tailrace share a Redis during a rolling deploy: each calls its own code, and
neither replaces the other's. Functions, unlike scripts, are persisted and replicated, so a new master has them.
"""

import hashlib
from collections.abc import Awaitable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Final, Self, cast

import redis.exceptions as rx
from redis.asyncio import Redis

from shared.store.redis.errors import mapping

__all__ = ("FUNCTIONS", "PREFIX", "Library")

PREFIX: Final = "tailrace_"

# When memory is short a stop and an ending must get through, and no writer may lose its lease over it (a heartbeat
# writes over what is there). Everything else is refused before it starts.
_ALLOW_OOM: Final = frozenset(
    {"cancel", "compact", "delete", "evict", "finish", "heartbeat", "recount", "release", "touch"}
)
_NO_WRITES: Final = frozenset({"read", "prove"})
FUNCTIONS: Final = (
    "create",
    "claim",
    "append",
    "append_deltas",
    "heartbeat",
    "release",
    "cancel",
    "finish",
    "delete",
    "read",
    "compact",
    "evict",
    "touch",
    "recount",
    "prove",
)


@dataclass(frozen=True, slots=True)
class Library:
    """The library's source and its name on the server, e.g. `tailrace_1f0c9a2b44`."""

    name: str
    source: str

    @classmethod
    def read(cls) -> Self:
        """The library of this version, put together from `shared/store/redis/lua/`."""
        name, source = _compose()
        return cls(name, source)

    def function(self, name: str) -> str:
        return f"{self.name}_{name}"

    async def load(self, client: "Redis") -> None:
        """Make the functions callable on this server. Harmless if they are there already."""
        with mapping():
            try:
                await cast("Awaitable[str]", client.function_load(self.source))
            except rx.ResponseError as error:
                if "already exists" not in str(error):
                    raise

    async def is_loaded(self, client: "Redis") -> bool:
        with mapping():
            return bool(await cast("Awaitable[list[Any]]", client.function_list(self.name)))


@cache
def _compose() -> tuple[str, str]:
    lua = files(__package__) / "lua"
    body = "\n".join((lua / f"{name}.lua").read_text("utf-8") for name in ("keys", "rights", "prelude", *FUNCTIONS))
    library = PREFIX + hashlib.sha256(body.encode()).hexdigest()[:10]
    registrations = "\n".join(_registration(library, name) for name in FUNCTIONS)
    return library, f"#!lua name={library}\n{body}\n{registrations}\n"


def _flags(name: str) -> str:
    if name in _NO_WRITES:
        return ", flags = { 'no-writes' }"
    return ", flags = { 'allow-oom' }" if name in _ALLOW_OOM else ""


def _registration(library: str, name: str) -> str:
    flags = _flags(name)
    return f"redis.register_function{{ function_name = '{library}_{name}', callback = {name}{flags} }}"
