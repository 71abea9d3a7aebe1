"""One Chromium and one broker for all tests of this folder; a fresh browser profile for each test."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, async_playwright

from shared.log.keys import Keyspace
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from tests.conftest import missing, own_keyspace, remove_keys
from tests.support.nginx import NginxMissing, NginxServer, running_nginx
from tests.support.stack import Stack, running_stack

__all__ = ()

CHROMIUM = "TAILRACE_TEST_CHROMIUM"
# No sandbox because tests run as root in containers; the rest keeps the browser from talking to anybody else.
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@pytest_asyncio.fixture(scope="package", loop_scope="package")
async def chromium() -> AsyncIterator[Browser]:
    """Debian's Chromium, or the one that `TAILRACE_TEST_CHROMIUM` names."""
    found = os.environ.get(CHROMIUM) or shutil.which("chromium")
    if found is None:
        missing("no chromium on PATH")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield browser
        await browser.close()


@pytest_asyncio.fixture(loop_scope="package")
async def context(chromium: Browser) -> AsyncIterator[BrowserContext]:
    """A browser profile of its own."""
    context = await chromium.new_context()
    yield context
    await context.close()


@pytest.fixture(scope="package")
def broker(redis_url: str) -> Iterator[Stack]:
    """Three edges, a worker and a scripted provider. Leases are short, so that a dead worker is replaced at once."""
    keyspace = own_keyspace()
    stack = running_stack(redis_url=redis_url, prefix=keyspace.prefix, lease_s=1, heartbeat_s=0.3, sweep_s=0.3)
    with stack as broker:
        yield broker
    asyncio.run(remove_keys(redis_url, keyspace))


@pytest.fixture
def stack(broker: Stack) -> Iterator[Stack]:
    """The broker, whole again afterwards if a test has killed some of it."""
    yield broker
    dead = [service for service in (*broker.edges, *broker.workers) if service.process.poll() is not None]
    for service in dead:
        service.start()


@pytest_asyncio.fixture(loop_scope="package")
async def log(stack: Stack) -> AsyncIterator[RedisStore]:
    """The broker's store, for what no provider would say."""
    store = RedisStore(open_client(stack.settings["redis_url"]), Keyspace(stack.settings["prefix"]))
    yield store
    await store.aclose()


@pytest.fixture(scope="package")
def front(broker: Stack) -> Iterator[NginxServer]:
    """The real nginx with the real configuration, before the edges."""
    try:
        server = running_nginx([f"127.0.0.1:{port}" for port in broker.ports])
    except NginxMissing as reason:
        missing(str(reason))
    with server:
        yield server
