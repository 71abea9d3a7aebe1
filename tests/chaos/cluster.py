"""Everything that runs: Redis with replica and Sentinels, a provider, workers, edges, nginx, and proxies in between."""

import asyncio
import random
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import orjson

from shared.errors import StoreError
from shared.log.keys import Keyspace
from shared.log.position import START
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from shared.store.state import Meta
from tests.chaos.door import Door, NginxDoor
from tests.chaos.member import EdgeMember, Member
from tests.chaos.skewed import SkewedWorker
from tests.support.edge import EdgeProcess
from tests.support.history import Asked, History, Logged
from tests.support.nginx import running_nginx
from tests.support.redis_server import ServerKind
from tests.support.script import Script
from tests.support.sentinel import SentinelGroup
from tests.support.sse_client import opened
from tests.support.worker import ProviderProcess, WorkerProcess

__all__ = ("MODEL", "QUICK", "Cluster", "chosen", "request_body")

MODEL: Final = "scripted"
_PREFIX: Final = "chaos"
_PAGE: Final = 1000
_FIND_MASTER_S: Final = 5.0

# The defaults made quicker, so that a run meets many takeovers; the proportions are the same.
QUICK: Final[dict[str, str | float]] = {
    "lease_s": 3,
    "heartbeat_s": 0.8,
    "sweep_s": 0.5,
    "dispatch_s": 2,
    "redis_timeout_s": 2,
    "max_attempts": 30,
    "provider_tries": 8,
    "retry_ms": 100,
    "worker_drain_s": 1.5,
    "edge_drain_s": 3,
    "edge_heartbeat_s": 2,
    "store_stall_s": 25,
    "fold_bytes": 512,
    "block_bytes": 4096,
    "fold_after_s": 1,
}
_PROVIDERS = """
[[providers]]
name = "{name}"
base_url = "{url}"
models = ["scripted"]
continuation = "{continuation}"
connect_timeout_s = 2
first_token_timeout_s = 4
next_token_timeout_s = 3
"""


class Cluster:
    """`async with` starts it all. `settings` are those of every worker and edge; without any they are the defaults."""

    def __init__(
        self,
        *,
        workers: int = 2,
        edges: int = 2,
        kind: ServerKind = "redis7",
        settings: dict[str, str | float] | None = None,
    ) -> None:
        self.redis = SentinelGroup(kind, args=("--enable-debug-command", "yes"))
        self.provider = ProviderProcess()
        self.workers: list[Member] = []
        self.edges: list[EdgeMember] = []
        self._nginx: list[NginxDoor] = []
        logs = {"log_format": "json", "log_level": "info"}
        self.settings: dict[str, Any] = {"prefix": _PREFIX, **logs, **(settings or {})}
        self.store: RedisStore
        self._counts = workers, edges
        self._stack = AsyncExitStack()

    def __repr__(self) -> str:
        return f"<Cluster {len(self.workers)} workers, {len(self.edges)} edges>"

    @property
    def members(self) -> list[Member]:
        return [*self.workers, *self.edges]

    @property
    def switched_at_ns(self) -> Sequence[int]:
        """When the Sentinels changed the master, by this machine's clock."""
        return self.redis.switched_at_ns

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def add_worker(self, *, ahead_s: float = 0.0, **settings: float) -> Member:
        """One worker more, not yet waited for; with a clock that is so many seconds ahead, or settings of its own."""
        new = partial(SkewedWorker, ahead_s=ahead_s) if ahead_s else WorkerProcess
        worker = Member(f"worker-{len(self.workers) + 1}", self.redis, new, self.settings | settings)
        self.workers.append(await self._stack.enter_async_context(worker))
        return worker

    async def remove(self, member: Member) -> None:
        """This one is not started again."""
        self.workers = [worker for worker in self.workers if worker is not member]
        await member.kill()

    async def add_edge(self) -> EdgeMember:
        edge = EdgeMember(f"edge-{len(self.edges) + 1}", self.redis, EdgeProcess, self.settings)
        self.edges.append(await self._stack.enter_async_context(edge))
        return edge

    async def heal(self) -> None:
        """All faults are lifted and everybody runs; returns when all is well."""
        for member in self.members:
            for proxy in member.proxies:
                proxy.lift()
        await self.redis.heal()
        for member in self.members:
            if not member.is_running:
                await member.start()

    # Looking

    def doors(self) -> Sequence[Door]:
        """Where readers and clients may come in: the edges that run, and nginx before all of them."""
        return [*self.open_edges(), *self._nginx]

    def open_edges(self) -> list[EdgeMember]:
        return [edge for edge in self.edges if edge.is_running]

    async def held_by(self, worker: Member) -> list[str]:
        """The live streams that a worker holds."""
        metas = await self.live()
        return [meta.id for meta in metas if f":{worker.pid}:" in meta.worker]

    async def live(self) -> list[Meta]:
        """Streams that somebody writes. Asks again while our own connections still lead to the master of before."""
        async with asyncio.timeout(_FIND_MASTER_S):
            while True:
                try:
                    page = await self.store.listing("public", status="running", limit=500, cursor=None)
                    return list(page.streams)
                except StoreError:
                    await asyncio.sleep(0.1)

    async def logged(self, stream_id: str, history: History) -> Logged:
        """A stream as the store holds it now."""
        position, entries = START, []
        while (snapshot := await self.store.read(stream_id, position, limit=_PAGE)) is not None:
            entries += [(e.position.attempt, e.position.offset, _data(e.event.data())) for e in snapshot.entries]
            if not snapshot.entries:
                meta = snapshot.meta
                fences = [(fence.attempt, fence.nonce, fence.keep) for fence in meta.fences]
                return Logged(history.now(), stream_id, meta.status, meta.tail, meta.trimmed, fences, entries)
            position = max(entry.position for entry in snapshot.entries)
        return Logged(history.now(), stream_id)

    async def asked(self, history: History) -> list[Asked]:
        """How often the provider was asked for each script."""
        async with opened(self.provider.port, "GET", "/_seen", host=self.provider.host) as answer:
            seen = await answer.json()
        keys = [request["key"] for request in seen]
        return [Asked(history.now(), key, keys.count(key)) for key in sorted(set(keys))]

    # Starting

    async def _start(self) -> None:
        await self._stack.enter_async_context(self.redis)
        self._stack.enter_context(self.provider)
        self.settings["config"] = str(self._configuration())
        client = open_client(self.redis.url, timeout_s=2)
        self.store = RedisStore(client, Keyspace(_PREFIX))
        self._stack.push_async_callback(self.store.aclose)
        workers, edges = self._counts
        for _ in range(workers):
            await self.add_worker()
        for _ in range(edges):
            await self.add_edge()
        await self._open_nginx()
        await asyncio.gather(*(member.until_ready() for member in self.members))

    async def _open_nginx(self) -> None:
        nginx = running_nginx([f"127.0.0.1:{edge.port}" for edge in self.edges])
        await self._stack.enter_async_context(nginx)
        self._nginx = [NginxDoor("nginx", nginx.port)]

    def _configuration(self) -> Path:
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="tailrace-chaos-")))
        path, url = folder / "tailrace.toml", self.provider.base_url
        # Two names for one provider: what one has begun the other can continue.
        texts = [_PROVIDERS.format(name=name, url=url, continuation="prefill") for name in ("first", "second")]
        path.write_text("".join(texts))
        return path


def request_body(script: Script, policy: str | None) -> dict[str, Any]:
    """The body of `POST /v1/streams` for a script."""
    return {"model": MODEL, "messages": script.messages(), "on_interruption": policy}


def chosen(chance: random.Random, members: list[Member]) -> Member | None:
    """One of those that run."""
    running = [member for member in members if member.is_running]
    return chance.choice(running) if running else None


def _data(line: bytes) -> dict[str, Any]:
    data: dict[str, Any] = orjson.loads(line)
    return data
