"""A worker's own figures, where it is told to show them."""

import asyncio
from urllib.request import urlopen

from shared.log.keys import Keyspace
from shared.store.redis.store import RedisStore
from tests.support.pulling import key, pulling
from tests.support.redis_server import free_port
from tests.support.script import Script

__all__ = ()


def scraped(port: int) -> str:
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as response:
        return str(response.read().decode())


async def test_a_worker_shows_its_metrics(store: RedisStore, redis_url: str, keys: Keyspace) -> None:
    port = free_port()
    async with pulling(store, redis_url, keys, workers=1, worker_metrics_port=port) as pulls:
        await pulls.until_over(await pulls.create(Script(key(), chunks=5)))

        figures = await asyncio.to_thread(scraped, port)

        assert pulls.workers[0].terminate() == 0

    assert 'tailrace_streams_ended_total{status="done"} 1.0' in figures
    assert "process_cpu_seconds_total" in figures
