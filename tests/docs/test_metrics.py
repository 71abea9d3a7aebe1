"""docs/metrics.md lists the values of every label: what real processes serve after real traffic, and nothing else."""

import asyncio
import re
from collections import defaultdict
from pathlib import Path

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from services.edge.delivery.delivery import Delivery
from services.edge.wires.registry import WIRES
from services.edge.wires.silent import SILENT
from services.edge.wires.websocket import WEBSOCKET
from shared.log.keys import Keyspace
from shared.settings.settings import Settings
from shared.store.memory.store import MemoryStore
from shared.telemetry.metrics import Metrics
from tests.support.redis_server import free_port
from tests.support.script import Script
from tests.support.stack import MODEL, Stack, running_stack

__all__ = ()

PAGE = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text("utf-8")
SERIES = re.compile(r'^(tailrace_\w+)\{(\w+)="([^"]*)"\}', re.MULTILINE)
ROW = re.compile(r"^\| `(tailrace_\w+)` \| \w+ \| `(\w+)`: (.*?) \|", re.MULTILINE)
# Its values are the operator's: the names in the configuration.
OPEN = ("tailrace_provider_chunks_total", "provider")

Labels = dict[tuple[str, str], set[str]]


def documented() -> Labels:
    return {(name, label): set(re.findall("`([^`]+)`", values)) for name, label, values in ROW.findall(PAGE)}


def served(scrape: str) -> Labels:
    found: Labels = defaultdict(set)
    for name, label, value in SERIES.findall(scrape):
        if label != "le" and not name.endswith("_created"):
            found[name, label].add(value)
    return found


async def scrape(stack: Stack, worker_port: int) -> str:
    async with aiohttp.ClientSession() as http:
        ports = [stack.edges[0].port, worker_port]
        pages = [await (await http.get(f"http://127.0.0.1:{port}/metrics")).text() for port in ports]
    return "\n".join(pages)


async def make_traffic(port: int) -> None:
    """An answer that is read on every wire, resumed from a good cursor, from a wrong one, and deleted."""
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
        body = {"model": MODEL, "messages": Script("metrics", chunks=5).messages()}
        created = await (await http.post("/v1/streams", json=body)).json()
        events = f"/v1/streams/{created['id']}/events"
        for wire in WIRES:
            await (await http.get(events, params={"wire": wire.name})).read()
        for cursor in ("0-0", "1-1.00000000"):
            await (await http.get(events, headers={"Last-Event-ID": cursor})).read()


@pytest.fixture
def worker_port() -> int:
    return free_port()


async def test_the_values_of_labels_are_those_of_the_page(redis_url: str, keys: Keyspace, worker_port: int) -> None:
    with running_stack(redis_url=redis_url, prefix=keys.prefix, edges=1, worker_metrics_port=worker_port) as stack:
        await make_traffic(stack.edges[0].port)
        scraped = await asyncio.wait_for(scrape(stack, worker_port), 10)
    found, expected = served(scraped), documented()
    names = {wire.name for wire in (*WIRES, WEBSOCKET, SILENT)}
    assert expected["tailrace_edge_readers", "wire"] == expected["tailrace_events_delivered_total", "wire"] == names
    assert found.pop(OPEN) == {"scripted"}
    assert expected.pop(OPEN) == set()
    assert found == expected
    for series in (
        'appends_total{answer="ok"}',
        'claims_total{answer="claimed"}',
        'resumes_total{outcome="resumed"}',
        'resumes_total{outcome="reset"}',
        'resets_total{reason="log_lost"}',
        'streams_ended_total{status="done"}',
    ):
        counts = re.findall(rf"^tailrace_{re.escape(series)} (.*)$", scraped, re.MULTILINE)
        assert sum(map(float, counts)) > 0, series


def test_an_edge_without_readers_serves_every_wire_at_zero() -> None:
    registry = CollectorRegistry()
    Delivery(MemoryStore(), Settings(), Metrics.on(registry))
    for wire in WIRES:
        for name in ("tailrace_edge_readers", "tailrace_events_delivered_total"):
            assert registry.get_sample_value(name, {"wire": wire.name}) == 0
