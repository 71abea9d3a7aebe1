"""One worker or edge of the cluster: a real process, with proxies of its own to everything that it talks to."""

import asyncio
import contextlib
import os
import signal
import subprocess
from collections.abc import Callable
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

import orjson

from tests.support.edge import EdgeProcess
from tests.support.proxy import Proxy, SentinelFront
from tests.support.sentinel import MASTER, SentinelGroup
from tests.support.service import Service

__all__ = ("DirectEdge", "DirectMember", "EdgeMember", "Member")

_READY = "worker ready"


class Member:
    """`new` makes its process from settings. `async with` starts it and ends it by pid."""

    def __init__(self, name: str, group: SentinelGroup, new: Callable[..., Service], settings: dict[str, Any]) -> None:
        self.name = name
        self.nodes = {node.port: Proxy(node.port) for node in group.nodes}
        self._group = group
        self._new = new
        self._settings = settings
        self._stack = AsyncExitStack()
        self._starts = 0
        # Two faults may meet here: the second must neither start a second process nor kill one that has yet to start.
        self._turn = asyncio.Lock()
        # Whoever wants it to act in time holds this, and whoever stops it: a frozen process cannot drain.
        self.alone = asyncio.Lock()
        self._killed: set[int] = set()
        self.service: Service

    def __repr__(self) -> str:
        return f"<Member {self.name}>"

    @property
    def pid(self) -> int:
        return self.service.process.pid

    @property
    def is_running(self) -> bool:
        return self.service.process.poll() is None

    @property
    def proxies(self) -> list[Proxy]:
        return list(self.nodes.values())

    @property
    def complaints(self) -> list[dict[str, Any]]:
        """What it has logged as a warning or worse."""
        lines = [_parsed(line) for line in self.service.log.splitlines()]
        return [line for line in lines if line.get("level") not in {"info", "debug"}]

    async def __aenter__(self) -> Self:
        for proxy in self.proxies:
            await self._stack.enter_async_context(proxy)
        fronts = [SentinelFront(port, self._shown) for port in self._group.sentinel_ports]
        for front in fronts:
            await self._stack.enter_async_context(front)
        hosts = ",".join(f"127.0.0.1:{front.port}" for front in fronts)
        self.service = self._new(redis_url=f"redis+sentinel://{hosts}/{MASTER}", **self._settings)
        self._stack.callback(self.service.close)
        self.service.launch()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.is_running:
            os.kill(self.pid, signal.SIGCONT)
        await self._stack.aclose()

    async def until_ready(self) -> None:
        """Wait until it is ready, this time: a worker says so in a log that it shares with the one before it."""
        await asyncio.to_thread(self.service.wait_until, self._is_ready)

    async def kill(self) -> None:
        async with self._turn:
            self._killed.add(self.pid)
            await asyncio.to_thread(self.service.kill)

    async def start(self) -> None:
        """Start it again, unless somebody has, and wait until it is ready."""
        async with self._turn:
            if self.is_running:
                return
            self._starts = self.service.log.count(_READY)
            self.service.launch()
            await self.until_ready()

    def freeze(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on, unless somebody has killed it meanwhile."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGCONT)

    async def terminate(self, *, within_s: float) -> str | None:
        """SIGTERM, and SIGKILL if that was not enough. Answers what was wrong about the way it went.

        If another fault kills it before it is through, that was no wrong of its own.
        """
        async with self.alone:
            return await self._terminate(within_s)

    async def _terminate(self, within_s: float) -> str | None:
        process = self.service.process
        process.terminate()
        try:
            code = await asyncio.to_thread(process.wait, within_s)
        except subprocess.TimeoutExpired:
            await self.kill()
            return f"{self.name} did not exit within {within_s} s; its last words: {self.service.log[-600:]!r}"
        if code == -signal.SIGKILL and process.pid in self._killed:
            return None
        return f"{self.name} exited with {code}" if code else None

    def _is_ready(self) -> bool:
        return self.service.is_ready() and self.service.log.count(_READY) > self._starts

    def _shown(self) -> dict[int, int]:
        return {real: proxy.port for real, proxy in self.nodes.items()}


class EdgeMember(Member):
    """An edge, whose readers connect to `host` and `port`."""

    service: EdgeProcess

    @property
    def host(self) -> str:
        return self.service.host

    @property
    def port(self) -> int:
        return self.service.port

    def _is_ready(self) -> bool:
        return self.service.is_ready()


class DirectMember(Member):
    """Connected to Redis itself, by the group's address, with no proxy in between."""

    async def __aenter__(self) -> Self:
        self.service = self._new(redis_url=self._group.url, **self._settings)
        self._stack.callback(self.service.close)
        self.service.launch()
        return self


class DirectEdge(DirectMember, EdgeMember):
    service: EdgeProcess


def _parsed(line: str) -> dict[str, Any]:
    """A line of a log. What is no JSON was printed by somebody who does not log, hence unexpected."""
    try:
        fields = orjson.loads(line)
    except orjson.JSONDecodeError:
        return {"level": "print", "message": line}
    return fields if isinstance(fields, dict) else {"level": "print", "message": line}
