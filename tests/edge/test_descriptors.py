"""File descriptors: as many as the system allows, and what happens when they are all taken."""

import asyncio
import resource
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from tests.conftest import missing
from tests.support.edge import EdgeProcess, running_edge
from tests.support.stack import Stack, configuration
from tests.support.waiting import eventually

__all__ = ()

pytestmark = pytest.mark.slow

UNFINISHED = b"GET /livez HTTP/1.1\r\nhost: localhost\r\n"


@contextmanager
def limited(broker: Stack, folder: Path, *, soft: int, hard: int) -> Iterator[EdgeProcess]:
    """An edge on the broker's Redis that may have so many open files."""
    prlimit = shutil.which("prlimit")
    if prlimit is None:
        missing("no prlimit on PATH")
    config = folder / "tailrace.toml"
    config.write_text(configuration("http://127.0.0.1:9/v1"))
    common = {name: broker.settings[name] for name in ("redis_url", "prefix")}
    with ExitStack() as stack:
        edge = running_edge(config=str(config), **common)
        edge.entry = [prlimit, f"--nofile={soft}:{hard}"]
        yield stack.enter_context(edge)


@asynccontextmanager
async def connections(port: int, number: int) -> AsyncIterator[list[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]:
    """So many, each in the middle of a request."""
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(number)]
    try:
        for _, writer in opened:
            writer.write(UNFINISHED)
        yield opened
    finally:
        for _, writer in opened:
            writer.transport.abort()


async def is_answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    try:
        writer.write(b"\r\n")
        return (await reader.readline()).startswith(b"HTTP/1.1 200 ")
    except ConnectionError:
        return False


async def test_an_edge_takes_as_many_descriptors_as_it_may(broker: Stack, tmp_path: Path) -> None:
    with limited(broker, tmp_path, soft=64, hard=1024) as edge:
        async with connections(edge.port, 200) as opened:
            assert all([await is_answered(*connection) for connection in opened])
        assert resource.prlimit(edge.process.pid, resource.RLIMIT_NOFILE) == (1024, 1024)


async def test_without_descriptors_connections_are_refused_and_counted(broker: Stack, tmp_path: Path) -> None:
    """Those that are there are served, Redis can be reached, and the log says it once."""
    with limited(broker, tmp_path, soft=80, hard=80) as edge:
        async with connections(edge.port, 100) as opened:
            answers = [await is_answered(*connection) for connection in opened]
        taken = sum(answers)
        assert 20 < taken < 80
        assert answers == [True] * taken + [False] * (100 - taken)

        async def is_ready() -> bool:
            return await asyncio.to_thread(edge.status, "/readyz") == 200

        await eventually(is_ready)
        assert await asyncio.to_thread(edge.metric, "tailrace_edge_connections_refused_total") >= 100 - taken
        assert edge.log.count("out of file descriptors") == 1
        assert "Traceback" not in edge.log
