"""One Idempotency-Key is one stream, on every edge, also after Redis has lost all that it held."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis.asyncio import Redis

from tests.conftest import missing
from tests.support.calls import call
from tests.support.edge import EdgeProcess, running_edge
from tests.support.redis_server import RedisServer, ServerMissing, running_redis
from tests.support.stack import configuration

__all__ = ()

BODY = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def server() -> Iterator[RedisServer]:
    try:
        redis = running_redis("redis7")
    except ServerMissing as reason:
        missing(str(reason))
    with redis:
        yield redis


async def created(edge: EdgeProcess, key: str) -> str:
    status, answer = await call(edge.port, "POST", "/v1/streams", body=BODY, Idempotency_Key=key)
    assert status in {200, 201}, answer
    return str(answer["id"])


async def flush(server: RedisServer) -> None:
    client = Redis(port=server.port)
    await client.flushall()
    await client.aclose()


@pytest.mark.parametrize("first", [0, 1])
async def test_edges_agree_on_a_key_after_redis_has_lost_everything(
    server: RedisServer, tmp_path: Path, first: int
) -> None:
    config = tmp_path / "tailrace.toml"
    config.write_text(configuration("http://127.0.0.1:9/v1"))
    with ExitStack() as stack:
        old = stack.enter_context(running_edge(config=str(config), redis_url=server.url))
        before = await created(old, "order-7")
        await flush(server)
        new = stack.enter_context(running_edge(config=str(config), redis_url=server.url))
        edges = [old, new]
        ids = [await created(edges[first], "order-7"), await created(edges[1 - first], "order-7")]
        assert ids[0] == ids[1]
        assert (ids[0] == before) == (first == 0)
