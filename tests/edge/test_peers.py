"""Peers that vanish without a word, or take for ever to say one: their connections are freed, others notice nothing."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from shared.store.redis.store import RedisStore
from tests.conftest import missing
from tests.support.edge import EdgeProcess, running_edge
from tests.support.namespace import Namespace, NamespaceMissing
from tests.support.sse_client import opened
from tests.support.stack import Stack, configuration
from tests.support.streams import begin, nonce, write
from tests.support.waiting import eventually

__all__ = ()

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

# A reader without our modules, which says once that it is being served and then only reads.
READER = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2]))) as connection:
    head = f"GET {sys.argv[3]} HTTP/1.1\\r\\nhost: localhost\\r\\naccept: text/event-stream\\r\\n\\r\\n"
    connection.sendall(head.encode())
    while data := connection.recv(65536):
        if b"first" in data:
            print("served", flush=True)
"""

SEND_TIMEOUT_S = 3.0
SLOW = 200
HEAD_S = 10.0
# How late a busy machine may be with what happens at a time.
LATE_S = 1.5


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    try:
        with Namespace() as made:
            yield made
    except NamespaceMissing as reason:
        missing(str(reason))


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "tailrace.toml"
    path.write_text(configuration("http://127.0.0.1:9/v1"))
    return str(path)


@contextmanager
def edge_of(broker: Stack, config: str, **settings: Any) -> Iterator[EdgeProcess]:
    """An edge on the broker's log that a test may harm."""
    common = {name: broker.settings[name] for name in ("redis_url", "prefix")}
    with running_edge(config=config, **common, **settings) as edge:
        yield edge


async def readers_of(edge: EdgeProcess) -> int:
    return await asyncio.to_thread(lambda: edge.readers)


@pytest.mark.parametrize("silent", [False, True], ids=["speaking", "silent"])
@pytest.mark.parametrize("vanish", [Namespace.drop_everything, Namespace.unplug], ids=["filtered", "unplugged"])
async def test_row_19_half_open_client(
    log: RedisStore,
    broker: Stack,
    config: str,
    namespace: Namespace,
    vanish: Callable[[Namespace], None],
    silent: bool,
) -> None:
    """A peer that is gone without FIN or RST is noticed by what it does not acknowledge, heartbeats included."""
    stream_id = await begin(log, tenant="public")
    tail = await write(log, stream_id, "first")
    reachable = {"edge_host": namespace.host, "allow_anonymous": True}
    with edge_of(broker, config, **reachable, send_timeout_s=SEND_TIMEOUT_S, edge_heartbeat_s=1) as edge:
        path = f"/v1/streams/{stream_id}/events"
        readers = [
            namespace.popen(
                [sys.executable, "-c", READER, namespace.host, str(edge.port), path], stdout=subprocess.PIPE
            )
            for _ in range(3)
        ]
        for reader in readers:
            assert reader.stdout is not None
            assert await asyncio.to_thread(reader.stdout.readline) == b"served\n"
        assert await readers_of(edge) == 3
        vanish(namespace)
        began = time.monotonic()
        while await readers_of(edge):
            assert time.monotonic() - began < SEND_TIMEOUT_S + 5
            if not silent:
                tail = await write(log, stream_id, "and on", tail=tail)
            await asyncio.sleep(0.1)  # the pace of the stream
        assert all(reader.poll() is None for reader in readers), "somebody told them"
        assert established(edge.port) == 0
        assert "Traceback" not in edge.log, edge.log


def established(port: int) -> int:
    """Connections of this port that the kernel still holds for us."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(fields[1].endswith(f":{port:04X}") and fields[3] == "01" for fields in rows)


async def drip(edge: EdgeProcess, at_once: bytes, slowly: bytes) -> tuple[float, bytes]:
    """Send a part at once and the rest at a byte a second: how long we were let, and what we were answered."""
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    began = time.monotonic()
    answered = asyncio.create_task(until_cut(reader))
    try:
        writer.write(at_once)
        for byte in slowly:
            writer.write(bytes([byte]))
            done, _ = await asyncio.wait([answered], timeout=1)
            if done:
                break
        return time.monotonic() - began, answered.result()
    finally:
        writer.transport.abort()
        answered.cancel()


async def until_cut(reader: asyncio.StreamReader) -> bytes:
    """What came before the end, which is a reset if a byte of ours was on its way just then."""
    came = b""
    with suppress(ConnectionError):
        while part := await reader.read(65_536):
            came += part
    return came


@asynccontextmanager
async def lags_of(edge: EdgeProcess, log: RedisStore) -> AsyncIterator[Callable[[int], Awaitable[list[float]]]]:
    """A live reader, and a way to ask how long each of some words takes to reach it."""
    stream_id, tail = await begin(log, tenant="public"), 0
    async with opened(edge.port, "GET", f"/v1/streams/{stream_id}/events") as answer:
        items = answer.items()

        async def lags(number: int) -> list[float]:
            nonlocal tail
            took: list[float] = []
            for _ in range(number):
                began = time.monotonic()
                tail = await write(log, stream_id, "word", tail=tail)
                while (await anext(items)).id != f"1-{tail}.{nonce(1)}":
                    continue
                took.append(time.monotonic() - began)
                await asyncio.sleep(0.02)  # the pace of the stream
            return took

        yield lags


async def test_row_20_slow_heads_and_bodies(log: RedisStore, broker: Stack, config: str) -> None:
    """200 heads at a byte a second are cut when their time is up, and nobody else waits for them meanwhile.

    So are bodies whose request was answered before they came: their rest is given as long as a head.
    """
    head = b"GET /v1/stats HTTP/1.1\r\nhost: localhost\r\nx-slow: "
    post = b"POST /v1/nothing HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1000\r\n\r\n"
    with edge_of(broker, config) as edge:
        async with lags_of(edge, log) as lags:
            before = await lags(100)
            heads = [asyncio.create_task(drip(edge, b"", head + b"x" * 100)) for _ in range(SLOW)]
            bodies = [asyncio.create_task(drip(edge, post, b"x" * 100)) for _ in range(10)]
            await eventually(lambda: are_held(edge, SLOW))
            during = await lags(100)
            assert not any(task.done() for task in heads)
            for lasted_s, answer in await asyncio.gather(*heads):
                assert HEAD_S - LATE_S < lasted_s < HEAD_S + LATE_S
                assert answer == b""
            for lasted_s, answer in await asyncio.gather(*bodies):
                assert lasted_s < HEAD_S + LATE_S
                assert answer.startswith(b"HTTP/1.1 404 ")
        assert p99(during) < 5 * max(p99(before), 0.01), (p99(before), p99(during))
        assert "Traceback" not in edge.log, edge.log


async def are_held(edge: EdgeProcess, number: int) -> bool:
    return established(edge.port) >= number


def p99(values: Sequence[float]) -> float:
    return sorted(values)[len(values) * 99 // 100 - 1]
