"""Addresses of Redis."""

from typing import Any, cast

import pytest

from shared.errors import InvalidConfiguration
from shared.store.redis.address import SentinelUrl
from shared.store.redis.client import open_client

__all__ = ()


def test_the_parts_of_a_sentinel_address() -> None:
    url = "redis+sentinel://us%40er:p%3Aw%40d@h1:26380,h2,[::1]:26381/my%20master/3?sentinel_password=s%20p"
    assert SentinelUrl.parse(url) == SentinelUrl(
        hosts=(("h1", 26380), ("h2", 26379), ("[::1]", 26381)),
        master="my master",
        db=3,
        username="us@er",
        password="p:w@d",
        sentinel_password="s p",
    )


def test_a_short_sentinel_address() -> None:
    assert SentinelUrl.parse("redis+sentinel://h1/main") == SentinelUrl((("h1", 26379),), "main")
    assert SentinelUrl.parse("redis+sentinel://:pass@h1/main").password == "pass"


def test_a_password_is_not_shown() -> None:
    target = SentinelUrl.parse("redis+sentinel://user:secret@h1,h2/main?sentinel_password=hidden")
    assert repr(target) == "<SentinelUrl main via 2 sentinels>"


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://",
        "redis+sentinel://h1",
        "redis+sentinel:///main",
        "redis+sentinel://h1/main/x",
        "redis+sentinel://h1/main/0/1",
        "redis+sentinel://h1:x/main",
        "redis+sentinel://h1:/main",
        "redis+sentinel://h1,,h2/main",
        "redis+sentinel://:123/main",
    ],
)
def test_what_is_no_sentinel_address(url: str) -> None:
    with pytest.raises(InvalidConfiguration):
        SentinelUrl.parse(url)


@pytest.mark.parametrize("url", ["http://127.0.0.1", "127.0.0.1:6379", "redis://127.0.0.1:port/0", ""])
def test_what_is_no_address_at_all(url: str) -> None:
    with pytest.raises(InvalidConfiguration):
        open_client(url)


@pytest.mark.parametrize("url", ["redis://h:1/2", "rediss://h:1/2", "unix:///run/redis.sock", "redis+sentinel://h/m"])
async def test_no_client_repeats_a_command_by_itself(url: str) -> None:
    client = open_client(url, timeout_s=3)
    options: dict[str, Any] = cast("Any", client.connection_pool).connection_kwargs
    assert options["retry"]._retries == 0
    assert (options["socket_timeout"], options["socket_connect_timeout"]) == (3, 2)
    assert not options.get("retry_on_timeout")
    await client.aclose()
