"""An edge whose user of Redis loses its password or its rights, and gets them back."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.log.keys import Keyspace
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from tests.conftest import missing
from tests.support.calls import call
from tests.support.edge import EdgeProcess, running_edge
from tests.support.redis_server import RedisServer, ServerMissing, running_redis
from tests.support.rights import PREFIX, RestrictedUser
from tests.support.stack import configuration
from tests.support.streams import begin, write
from tests.support.waiting import eventually

__all__ = ()

pytestmark = pytest.mark.timeout(60)
BODY = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def server() -> Iterator[RedisServer]:
    try:
        redis = running_redis("redis7")
    except ServerMissing as reason:
        missing(str(reason))
    with redis:
        yield redis


@pytest.fixture
async def user(server: RedisServer) -> RestrictedUser:
    user = RestrictedUser(server)
    await user.grant()
    return user


@pytest.fixture
async def stream_id(server: RedisServer) -> AsyncIterator[str]:
    store = RedisStore(open_client(server.url), Keyspace(PREFIX))
    stream_id = await begin(store, tenant="public")
    await write(store, stream_id, "said ")
    yield stream_id
    await store.aclose()


def edge_of(user: RestrictedUser, tmp_path: Path) -> EdgeProcess:
    config = tmp_path / "tailrace.toml"
    config.write_text(configuration("http://127.0.0.1:9/v1"))
    return running_edge(config=str(config), redis_url=user.url, prefix=PREFIX, waits_for_redis=False)


async def refusals(edge: EdgeProcess, stream_id: str) -> set[tuple[int, str]]:
    """How everything that needs Redis is answered."""
    calls: list[tuple[str, str, Any]] = [
        ("GET", "/readyz", None),
        ("GET", "/v1/stats", None),
        ("GET", "/v1/streams", None),
        ("POST", "/v1/streams", BODY),
        ("GET", f"/v1/streams/{stream_id}", None),
        ("GET", f"/v1/streams/{stream_id}/events", None),
        ("POST", f"/v1/streams/{stream_id}/cancel", None),
        ("DELETE", f"/v1/streams/{stream_id}", None),
    ]
    found = set()
    for method, path, body in calls:
        status, answer = await call(edge.port, method, path, body=body)
        found.add((status, answer["error"]["code"]))
    return found


async def is_ready(edge: EdgeProcess) -> bool:
    return (await call(edge.port, "GET", "/readyz"))[0] == 200


async def test_a_user_that_loses_all_rights_is_told_so_and_recovers(
    user: RestrictedUser, stream_id: str, tmp_path: Path
) -> None:
    with edge_of(user, tmp_path) as edge:
        await eventually(lambda: is_ready(edge))
        await user.grant(without=("fcall", "hgetall", "zrevrangebyscore", "hmget", "hget", "info"))
        assert await refusals(edge, stream_id) == {(503, "store_denied")}
        assert "permissions to run the 'fcall' command" in edge.log
        assert "Traceback" not in edge.log
        await user.grant()
        await eventually(lambda: is_ready(edge), within_s=3)
        assert (await call(edge.port, "POST", "/v1/streams", body=BODY))[0] == 201


async def test_a_password_that_was_changed_is_told_so_and_recovers(
    user: RestrictedUser, stream_id: str, tmp_path: Path
) -> None:
    with edge_of(user, tmp_path) as edge:
        await eventually(lambda: is_ready(edge))
        await user.grant(password="another")
        await user.hang_up()
        await eventually(lambda: is_denied(edge))
        assert await refusals(edge, stream_id) == {(503, "store_denied")}
        assert "WRONGPASS" in edge.log or "invalid username-password pair" in edge.log
        assert "word@" not in edge.log
        await user.grant()
        await eventually(lambda: is_ready(edge), within_s=3)


async def is_denied(edge: EdgeProcess) -> bool:
    status, answer = await call(edge.port, "GET", "/readyz")
    return status == 503 and answer["error"]["code"] == "store_denied"


@pytest.mark.parametrize("right", ["xtrim", "xread", "fcall", "publish", "client|unblock"])
async def test_an_edge_that_lacks_a_right_is_not_ready_and_says_which(
    user: RestrictedUser, tmp_path: Path, right: str
) -> None:
    store = RedisStore(open_client(user.url.replace("app:word@", "")), Keyspace(PREFIX))
    await store.load()
    await store.aclose()
    await user.grant(without=(right,))
    with edge_of(user, tmp_path) as edge:
        assert await is_denied(edge)
        await eventually(lambda: _says(edge, right.replace("|", " ")))
        await user.grant()
        await eventually(lambda: is_ready(edge), within_s=3)


async def _says(edge: EdgeProcess, words: str) -> bool:
    return words in edge.log.lower()
