"""What is refused for now, to clients that never ask again after a status: browsers' EventSource."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from shared.errors import StoreError
from shared.log import events
from shared.log.keys import Keyspace
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from tests.conftest import missing
from tests.support.calls import call
from tests.support.edge import EdgeProcess, running_edge
from tests.support.redis_server import RedisServer, ServerMissing, running_redis
from tests.support.sse_client import NDJSON, SSE, Answer, History, Item, opened
from tests.support.stack import configuration
from tests.support.streams import append, begin, end, nonce, texts, write
from tests.support.waiting import eventually

__all__ = ()

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

BROWSER = {"accept": SSE}


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis that a test may stop, and that keeps what it acknowledged."""
    try:
        redis = running_redis("redis7", appendonly=True, args=("--appendfsync", "always"))
    except ServerMissing as reason:
        missing(str(reason))
    with redis:
        yield redis


@pytest.fixture
async def log(server: RedisServer) -> AsyncIterator[RedisStore]:
    store = RedisStore(open_client(server.url), Keyspace("tailrace"))
    yield store
    await store.aclose()


@contextmanager
def edges(tmp_path: Path, server: RedisServer, **settings: Any) -> Iterator[list[EdgeProcess]]:
    """One edge with transports to write to, and one without."""
    config = tmp_path / "tailrace.toml"
    config.write_text(configuration("http://127.0.0.1:9/v1"))
    common: dict[str, Any] = {"config": str(config), "redis_url": server.url, "retry_ms": 50, "redis_timeout_s": 1}
    with ExitStack() as stack:
        started = [running_edge(is_plain=is_plain, **(common | settings)) for is_plain in (False, True)]
        for edge in started:
            stack.callback(edge.close)
            edge.launch()
        for edge in started:
            edge.wait_until(edge.is_ready)
        yield started


def path_of(stream_id: str) -> str:
    return f"/v1/streams/{stream_id}/events"


async def is_away(edge: EdgeProcess) -> bool:
    return await asyncio.to_thread(edge.status, "/readyz") == 503


async def is_back(store: RedisStore) -> bool:
    try:
        await store.ping()
    except StoreError:
        return False
    return True


async def told(answer: Answer, items: list[Item]) -> None:
    async for item in answer.items():
        items.append(item)  # noqa: PERF401 - somebody looks at it meanwhile


async def test_without_redis_an_event_source_waits_and_whoever_wants_the_status_gets_it(
    server: RedisServer, log: RedisStore, tmp_path: Path
) -> None:
    """Comments until Redis is back, then the events, on the same connection."""
    stream_id = await begin(log, tenant="public")
    tail = await write(log, stream_id, "before ")
    with edges(tmp_path, server) as started:
        await asyncio.to_thread(server.kill)
        for edge in started:
            await eventually(lambda edge=edge: is_away(edge), within_s=15)  # type: ignore[misc]
            for query, headers in (
                ("?wait=0", BROWSER),
                ("", BROWSER | {"prefer": "wait=0"}),
                ("", {"accept": NDJSON}),
                ("", {"accept": "*/*"}),
                ("", {}),
            ):
                async with opened(edge.port, "GET", path_of(stream_id) + query, headers=headers) as answer:
                    assert answer.status == 503
                    assert (await answer.json())["error"]["retryable"] is True
        async with (
            opened(started[0].port, "GET", path_of(stream_id), headers=BROWSER) as one,
            opened(started[1].port, "GET", path_of(stream_id), headers=BROWSER) as other,
        ):
            heard: list[list[Item]] = [[], []]
            async with asyncio.TaskGroup() as group:
                for answer, items in zip((one, other), heard, strict=True):
                    assert answer.status == 200
                    assert answer.headers["content-type"].startswith("text/event-stream")
                    group.create_task(told(answer, items))
                await asyncio.sleep(3)
                await asyncio.to_thread(server.start)
                await eventually(lambda: is_back(log), within_s=15)
                await append(log, stream_id, [*texts("and after"), events.done("stop")], tail=tail)
            for answer, items in zip((one, other), heard, strict=True):
                assert answer.is_complete
                assert items[0].retry_ms is not None
                first = next(place for place, item in enumerate(items) if item.data is not None)
                assert sum(item == Item() for item in items[:first]) >= 2, "a connection that waits is not silent"
                history = History(stream_id)
                for item in items:
                    history.take(item)
                assert (history.text(), (history.ending or {})["type"]) == ("before and after", "done")


@pytest.mark.parametrize("which", ["at the end", "unknown"])
async def test_what_can_only_be_told_with_a_status_is_told_the_next_connection(
    server: RedisServer, log: RedisStore, tmp_path: Path, which: str
) -> None:
    stream_id = await begin(log, tenant="public")
    tail = await end(log, stream_id)
    path = f"{path_of(stream_id)}?after=1-{tail}.{nonce(1)}" if which == "at the end" else path_of("f" * 32)
    with edges(tmp_path, server) as started:
        await asyncio.to_thread(server.kill)
        for edge in started:
            await eventually(lambda edge=edge: is_away(edge), within_s=15)  # type: ignore[misc]
        async with (
            opened(started[0].port, "GET", path, headers=BROWSER) as one,
            opened(started[1].port, "GET", path, headers=BROWSER) as other,
        ):
            await asyncio.to_thread(server.start)
            heard: list[Item] = []
            async with asyncio.timeout(30):
                await told(one, heard)
                await told(other, [])
            assert [(item.data or {})["type"] for item in heard if item.data] == ["reconnect"]
            assert not one.is_complete, "a clean end looks like the end of the stream"
        for edge in started:
            assert (await call(edge.port, "GET", path, accept=SSE))[0] == (204 if which == "at the end" else 404)


async def test_who_waits_on_an_edge_that_goes_is_sent_on(server: RedisServer, log: RedisStore, tmp_path: Path) -> None:
    """And does not keep it: it ends in time, without a traceback."""
    stream_id = await begin(log, tenant="public")
    with edges(tmp_path, server, edge_drain_s=6) as (edge, _):
        await asyncio.to_thread(server.kill)
        await eventually(lambda: is_away(edge), within_s=15)
        async with opened(edge.port, "GET", path_of(stream_id), headers=BROWSER) as answer:
            items = answer.items()
            await anext(items)
            edge.process.terminate()
            heard = [item async for item in items]
            assert [(item.data or {})["type"] for item in heard if item.data] == ["reconnect"]
            assert not answer.is_complete
        assert await asyncio.to_thread(edge.process.wait, 15) == 0
        assert "Traceback" not in edge.log


async def test_readers_are_not_retired_while_redis_is_away(
    server: RedisServer, log: RedisStore, tmp_path: Path
) -> None:
    """Nobody could let them in again; afterwards it is their time."""
    stream_id = await begin(log, tenant="public")
    await write(log, stream_id, "before ")
    with edges(tmp_path, server, max_connection_s=3, edge_heartbeat_s=0.5) as started:
        async with (
            opened(started[0].port, "GET", path_of(stream_id)) as one,
            opened(started[1].port, "GET", path_of(stream_id), headers={"accept": NDJSON}) as other,
        ):
            await asyncio.to_thread(server.kill)
            for edge in started:
                await eventually(lambda edge=edge: is_away(edge), within_s=15)  # type: ignore[misc]
            heard: list[list[Item]] = [[], []]
            async with asyncio.TaskGroup() as group:
                for answer, items in zip((one, other), heard, strict=True):
                    group.create_task(told(answer, items))
                await asyncio.sleep(6)
                assert not any((item.data or {}).get("type") == "reconnect" for items in heard for item in items)
                beats = [sum(item == Item() for item in items) for items in heard]
                assert min(beats) > 3, beats
                await asyncio.to_thread(server.start)
            for items in heard:
                assert (items[-1].data or {})["type"] == "reconnect"
