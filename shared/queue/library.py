"""The queue's Lua functions as one Redis library, named after its content as that of the streams is.

It is a library of its own because the queue may be on another Redis than the streams.
"""

import hashlib
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Final

import redis.exceptions as rx
from redis.asyncio import Redis

from shared.store.redis.errors import is_missing_function, mapping
from shared.store.redis.library import Library

__all__ = ("QUEUE_FUNCTIONS", "QueueFunctions", "queue_library")

QUEUE_FUNCTIONS: Final = ("enqueue", "take", "tend", "announce")
_PREFIX: Final = "tailrace_queue_"


class QueueFunctions:
    """Calls the functions on one Redis, and loads them where they are missing."""

    def __init__(self, client: "Redis") -> None:
        self._client = client
        self._library = queue_library()

    async def call(self, function: str, keys: Sequence[str], *args: Any) -> Any:
        """The function's answer. Raises `StoreError`."""
        command = ("FCALL", self._library.function(function), len(keys), *keys, *args)
        with mapping():
            try:
                return await self._client.execute_command(*command)  # type: ignore[no-untyped-call]
            except rx.ResponseError as error:
                if not is_missing_function(error):
                    raise
                await self._library.load(self._client)
                return await self._client.execute_command(*command)  # type: ignore[no-untyped-call]


@cache
def queue_library() -> Library:
    """The library of this version, put together from `lua/`."""
    lua = files("shared.queue") / "lua"
    body = "\n".join((lua / f"{name}.lua").read_text("utf-8") for name in ("prelude", *QUEUE_FUNCTIONS))
    name = _PREFIX + hashlib.sha256(body.encode()).hexdigest()[:10]
    registrations = "\n".join(_registration(name, function) for function in QUEUE_FUNCTIONS)
    return Library(name, f"#!lua name={name}\n{body}\n{registrations}\n")


def _registration(library: str, function: str) -> str:
    return f"redis.register_function('{library}_{function}', {function})"
