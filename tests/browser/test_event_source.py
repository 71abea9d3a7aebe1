"""A browser's own EventSource, which gives up for ever on any status but 200, over what is only for now."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext, Page

from shared.errors import StoreError
from shared.log import events
from shared.log.keys import Keyspace
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from tests.conftest import missing
from tests.support.edge import EdgeProcess, running_edge
from tests.support.nginx import NginxMissing, NginxServer, running_nginx
from tests.support.redis_server import RedisServer, ServerMissing, running_redis
from tests.support.stack import configuration
from tests.support.streams import append, begin, texts, write
from tests.support.waiting import eventually

__all__ = ()

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]

# Remembers what it hears and every state it has been in: 0 connecting, 1 open, 2 closed for good.
OPEN = """stream => {
  window.said = ''; window.states = [];
  const source = window.source = new EventSource(`/v1/streams/${stream}/events`);
  source.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    if (event.type === 'text') window.said += event.delta;
    if (event.type === 'done') source.close();
  };
  source.onerror = () => window.states.push(source.readyState);
}"""


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """A Redis that a test may stop, and that keeps what it acknowledged."""
    try:
        redis = running_redis("redis7", appendonly=True, args=("--appendfsync", "always"))
    except ServerMissing as reason:
        missing(str(reason))
    with redis:
        yield redis


@pytest_asyncio.fixture(loop_scope="package")
async def own_log(server: RedisServer) -> AsyncIterator[RedisStore]:
    store = RedisStore(open_client(server.url), Keyspace("tailrace"))
    yield store
    await store.aclose()


@pytest.fixture
def edge(server: RedisServer, tmp_path: Path) -> Iterator[EdgeProcess]:
    """An edge whose connections are soon too old."""
    config = tmp_path / "tailrace.toml"
    config.write_text(configuration("http://127.0.0.1:9/v1"))
    settings: dict[str, Any] = {"redis_url": server.url, "max_connection_s": 4, "edge_heartbeat_s": 0.5}
    with running_edge(config=str(config), retry_ms=50, redis_timeout_s=1, **settings) as edge:
        yield edge


@pytest.fixture
def front(edge: EdgeProcess) -> Iterator[NginxServer]:
    """The real nginx with the real configuration, before that edge."""
    try:
        server = running_nginx([f"127.0.0.1:{edge.port}"])
    except NginxMissing as reason:
        missing(str(reason))
    with server:
        yield server


async def is_back(store: RedisStore) -> bool:
    try:
        await store.ping()
    except StoreError:
        return False
    return True


async def has_said(page: Page, text: str) -> None:
    async def holds() -> bool:
        return bool(await page.evaluate("window.said") == text)

    await eventually(holds, within_s=30, every_s=0.05)


@pytest.mark.parametrize("through", ["edge", "nginx"])
async def test_an_event_source_outlives_an_outage_of_redis(
    context: BrowserContext,
    server: RedisServer,
    own_log: RedisStore,
    edge: EdgeProcess,
    front: NginxServer,
    through: str,
) -> None:
    """Both one that was there before and grows too old meanwhile, and one that comes while Redis is away."""
    url = f"http://127.0.0.1:{edge.port}" if through == "edge" else front.url
    stream_id = await begin(own_log, tenant="public")
    tail = await write(own_log, stream_id, "before ")
    early, late = await context.new_page(), await context.new_page()
    for page in (early, late):
        await page.goto(url)
    await early.evaluate(OPEN, stream_id)
    await has_said(early, "before ")
    await asyncio.to_thread(server.kill)

    async def is_away() -> bool:
        return await asyncio.to_thread(edge.status, "/readyz") == 503

    await eventually(is_away, within_s=15)
    await late.evaluate(OPEN, stream_id)
    await asyncio.sleep(8)  # twice the age of a connection
    for page in (early, late):
        assert await page.evaluate("window.source.readyState") != 2, "given up for ever"
    await asyncio.to_thread(server.start)
    await eventually(lambda: is_back(own_log), within_s=15)
    await append(own_log, stream_id, [*texts("after"), events.done("stop")], tail=tail)
    for page in (early, late):
        await has_said(page, "before after")
        assert 2 not in await page.evaluate("window.states")


async def test_an_event_source_outlives_the_edges_behind_nginx(
    context: BrowserContext, own_log: RedisStore, edge: EdgeProcess, front: NginxServer
) -> None:
    """With no edge at all nginx answers by itself."""
    stream_id = await begin(own_log, tenant="public")
    tail = await write(own_log, stream_id, "before ")
    page = await context.new_page()
    await page.goto(front.url)
    await page.evaluate(OPEN, stream_id)
    await has_said(page, "before ")
    edge.kill()
    await asyncio.sleep(5)
    assert await page.evaluate("window.source.readyState") != 2, "given up for ever"
    edge.start()
    await append(own_log, stream_id, [*texts("after"), events.done("stop")], tail=tail)
    await has_said(page, "before after")
    assert 2 not in await page.evaluate("window.states")
