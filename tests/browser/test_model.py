"""A real answer of the built-in model, on the page, from an edge that two more tabs may follow."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import BrowserContext

from services.console.failure import Failure
from services.local.model import MODEL_NAME, find_weights
from tests.browser.tab import Tab
from tests.conftest import missing, own_keyspace, remove_keys
from tests.support.edge import EdgeProcess, running_edge
from tests.support.redis_server import free_port
from tests.support.service import Service, ours
from tests.support.worker import running_worker

__all__ = ()

pytestmark = [
    pytest.mark.browser,
    pytest.mark.model,
    pytest.mark.slow,
    pytest.mark.timeout(120),
    pytest.mark.asyncio(loop_scope="package"),
]


class ModelProcess(Service):
    """`tailrace model`; ready when it says so."""

    def __init__(self) -> None:
        self.port = free_port()
        super().__init__(["-m", "services.cli", "model", "--port", str(self.port)], ours(log_format="json"))

    def is_ready(self) -> bool:
        return f"model {MODEL_NAME} answers" in self.log


@pytest_asyncio.fixture(loop_scope="package")
async def edge(redis_url: str) -> AsyncIterator[EdgeProcess]:
    try:
        find_weights()
    except Failure as reason:
        missing(reason.message)
    keyspace = own_keyspace()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tailrace-model-")))
        model = stack.enter_context(ModelProcess())
        config = folder / "tailrace.toml"
        url = f"http://127.0.0.1:{model.port}/v1"
        config.write_text(f'[[providers]]\nname = "local"\nbase_url = "{url}"\nmodels = ["{MODEL_NAME}"]\n')
        common: dict[str, Any] = {"redis_url": redis_url, "prefix": keyspace.prefix, "config": str(config)}
        stack.enter_context(running_worker(**common))
        yield stack.enter_context(running_edge(**common))
    await remove_keys(redis_url, keyspace)


async def test_a_person_asks_reads_and_stops(context: BrowserContext, edge: EdgeProcess) -> None:
    url = f"http://127.0.0.1:{edge.port}"
    tab = await Tab.open(context, url)
    stream = await tab.ask("Write a long story about a lighthouse keeper.")
    await tab.has_text(40)
    other = await Tab.open(context, url, stream=stream)
    await other.has_text(80)

    await other.stop()
    for each in (tab, other):
        await each.is_in("ended")

    text = await tab.text()
    assert await other.text() == text
    assert {word.strip(",.").lower() for word in text.split()} & {"lighthouse", "keeper", "sea", "the"}
    content = (await asyncio.to_thread(edge.get, f"/v1/streams/{stream}"))[1]["content"]
    assert content == [{"type": "text", "text": text}]
    assert tab.complaints == other.complaints == []
