"""deploy/redis.conf, read by real servers."""

from typing import get_args

import pytest

from shared.settings.settings import Settings
from shared.store.redis.client import open_client
from tests.conftest import missing
from tests.support.nginx import DEPLOY
from tests.support.redis_server import ServerKind, ServerMissing, running_redis

__all__ = ()


@pytest.mark.parametrize("kind", get_args(ServerKind))
async def test_a_server_takes_every_line(kind: ServerKind) -> None:
    try:
        server = running_redis(kind, args=("--include", str(DEPLOY / "redis.conf")))
    except ServerMissing as reason:
        missing(str(reason))
    async with server:
        client = open_client(server.url)
        try:
            configured = await client.config_get("*")
        finally:
            await client.aclose()
    assert configured["maxmemory-policy"] == "noeviction"
    assert configured["appendonly"] == "yes"
    assert configured["appendfsync"] == "everysec"
    assert configured["save"] == ""
    # Everything that is not counted as a stream's bytes must find room beside the streams.
    assert int(configured["maxmemory"]) >= 2 * Settings.model_fields["max_total_bytes"].default
