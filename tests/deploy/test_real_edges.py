"""deploy/nginx.conf in front of real edges, a real Redis behind them: what a reader sees when edges come and go."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from shared.log.keys import Keyspace
from shared.settings.settings import CONFIG_VARIABLE
from shared.store.redis.store import RedisStore
from tests.conftest import missing
from tests.support.nginx import NginxMissing, NginxServer, running_nginx
from tests.support.redis_server import free_port
from tests.support.streams import begin, end, write
from tests.support.waiting import eventually

__all__ = ()

pytestmark = [pytest.mark.nginx, pytest.mark.slow]

START_S = 20.0
PROVIDER = '[[providers]]\nname = "none"\nbase_url = "http://127.0.0.1:9/v1"\nmodels = ["small"]\n'


class Edge:
    """One `tailrace edge` process."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port

    async def is_ready(self) -> bool:
        assert self.process.returncode is None, f"the edge ended with {self.process.returncode}"
        try:
            async with aiohttp.ClientSession() as client, client.get(f"http://127.0.0.1:{self.port}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False


@asynccontextmanager
async def running_edge(environment: dict[str, str]) -> AsyncIterator[Edge]:
    port = free_port()
    command = [sys.executable, "-m", "services.cli", "edge", "--host", "127.0.0.1", "--port", str(port)]
    process = await asyncio.create_subprocess_exec(*command, env=environment)
    edge = Edge(process, port)
    try:
        await eventually(edge.is_ready, within_s=START_S, every_s=0.05)
        yield edge
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.fixture
async def edges(redis_url: str, keys: Keyspace, tmp_path: Path) -> AsyncIterator[list[Edge]]:
    config = tmp_path / "tailrace.toml"
    config.write_text(PROVIDER)
    ours = {"REDIS_URL": redis_url, "PREFIX": keys.prefix, "EDGE_DRAIN_S": "2", "RETRY_MS": "50"}
    environment = os.environ | {CONFIG_VARIABLE: str(config)} | {f"TAILRACE_{name}": ours[name] for name in ours}
    async with AsyncExitStack() as stack:
        starting = [stack.enter_async_context(running_edge(environment)) for _ in range(3)]
        yield [await start for start in starting]


@pytest.fixture
async def nginx(edges: list[Edge]) -> AsyncIterator[NginxServer]:
    try:
        server = running_nginx([f"127.0.0.1:{edge.port}" for edge in edges])
    except NginxMissing as reason:
        missing(str(reason))
    async with server:
        yield server


class Reader:
    """Follows a stream to its end, over as many connections as that takes. Never told which edge it reads from."""

    def __init__(self, url: str) -> None:
        self.text = ""
        self.connections = 0
        self._url = url
        self._cursor: str | None = None
        self._over = False

    async def run(self) -> None:
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector) as client:
            while not self._over:
                self.connections += 1
                await self._follow(client)

    async def reaches(self, text: str) -> None:
        """Wait until it has exactly this; `TimeoutError` if it never does."""

        async def has() -> bool:
            return self.text == text

        await eventually(has, within_s=10)

    async def _follow(self, client: aiohttp.ClientSession) -> None:
        headers = {"Last-Event-ID": self._cursor} if self._cursor else {}
        try:
            async with client.get(self._url, headers=headers) as response:
                assert response.status == 200, await response.text()
                async for line in response.content:
                    self._take(line)
        except aiohttp.ClientPayloadError:
            return  # cut in the middle: what came is kept, the rest is asked for

    def _take(self, line: bytes) -> None:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "id":
            self._cursor = value
        if name == "data":
            event = json.loads(value)
            assert event["type"] in {"start", "text", "reconnect", "done"}
            self.text += event.get("delta", "")
            self._over = event["type"] == "done"


async def test_readers_outlive_their_edges(store: RedisStore, nginx: NginxServer, edges: list[Edge]) -> None:
    stream_id = await begin(store, tenant="public")
    # nginx takes the edges in turn, so that each has one of the readers.
    readers = [Reader(f"{nginx.url}/v1/streams/{stream_id}/events") for _ in edges]
    text, tail = "", 0
    async with asyncio.timeout(40), asyncio.TaskGroup() as tasks:
        for reader in readers:
            tasks.create_task(reader.run())
        for number, ending in enumerate((None, signal.SIGKILL, signal.SIGTERM)):
            if ending is not None:
                edges[number].process.send_signal(ending)
            for word in ("Wasser ", "läuft ", "weiter ", f"{number} "):
                tail = await write(store, stream_id, word, tail=tail)
                text += word
            await asyncio.gather(*(reader.reaches(text) for reader in readers))
        assert await edges[2].process.wait() == 0
        await end(store, stream_id, tail=tail)
    assert [reader.text for reader in readers] == [text] * len(readers)
    assert sum(reader.connections for reader in readers) >= len(readers) + 2


async def test_no_create_is_refused_while_an_edge_drains(nginx: NginxServer, edges: list[Edge]) -> None:
    body = {"model": "small", "messages": [{"role": "user", "content": "hello"}]}
    ids = set()
    async with AsyncExitStack() as stack, asyncio.timeout(30):
        client = await stack.enter_async_context(aiohttp.ClientSession(nginx.url))
        # Each edge gets a reader, which keeps it draining for a while; without one it would be gone at once.
        for _ in edges:
            streaming = client.post("/v1/streams", json=body, headers={"Accept": "text/event-stream"})
            assert (await stack.enter_async_context(streaming)).status == 200
        for edge in edges[:2]:
            edge.process.terminate()
        while any(edge.process.returncode is None for edge in edges[:2]):
            async with client.post("/v1/streams", json=body) as answer:
                assert answer.status == 201, await answer.text()
                ids.add((await answer.json())["id"])
    assert len(ids) > 2
