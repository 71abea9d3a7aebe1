"""Clients for `TAILRACE_REDIS_URL`: one Redis, a master found through Sentinels, or a cluster.

`redis://`, `rediss://` and `unix://` are redis-py's own forms, `rediss+…` is TLS in each (`access/tls.py`). `redis+sentinel://[user:password@]host:port[,host:port…]/master[/db]`
asks the Sentinels for the master at each connect, and once a second whether it is still the same (`sentinel/pool.py`).
"""

import logging
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from shared.errors import InvalidConfiguration
from shared.store.redis.access.tls import is_encrypted, is_unverified, tls_options
from shared.store.redis.address import ClusterUrl, SentinelUrl, is_cluster_url, is_sentinel_url
from shared.store.redis.cluster.client import ClusterClient
from shared.store.redis.cluster.router import Router
from shared.store.redis.cluster.slots import Address
from shared.store.redis.connection import make_cancellable
from shared.store.redis.role import keep_to_master
from shared.store.redis.sentinel.pool import MasterPool

__all__ = ("open_client",)

logger = logging.getLogger(__name__)


def open_client(url: str, *, timeout_s: float = 5.0) -> "Redis":
    """A client that never retries by itself: whether a lost reply may be repeated is the caller's knowledge.

    redis-py 8 would repeat an XADD whose reply was lost and write it twice; 5.3 is pinned and told not to, either.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": min(timeout_s, 2.0),
        "retry": Retry(NoBackoff(), 0),
        "client_name": "tailrace",
    }
    if is_unverified(url):
        logger.warning("TLS to Redis without a check of who it is: ssl_cert_reqs=none or ssl_check_hostname=no")
    if is_cluster_url(url):
        return _cluster_client(ClusterUrl.parse(url), options | _encryption(url))
    client = _sentinel_client(url, options) if is_sentinel_url(url) else _plain_client(url, options)
    make_cancellable(client)
    keep_to_master(client)
    return client


def _encryption(url: str) -> dict[str, Any]:
    """TLS for whoever is given a host rather than an address."""
    return {"ssl": True, **tls_options(url)} if is_encrypted(url) else {}


def _plain_client(url: str, options: dict[str, Any]) -> "Redis":
    try:
        client: Redis = Redis.from_url(url, **options)
    except ValueError:
        # Not the library's words: they can quote a piece of a password.
        raise InvalidConfiguration(
            "a Redis address begins with redis://, rediss://, unix://, redis+sentinel://, rediss+sentinel://,"
            " redis+cluster:// or rediss+cluster://"
        ) from None
    cast("Any", client.connection_pool).connection_kwargs.update(tls_options(url))
    return client


class _MasterClient(Redis):
    """The client of a master found through Sentinels; redis-py leaves the connections to the Sentinels open."""

    async def aclose(self, close_connection_pool: bool | None = None) -> None:
        await super().aclose(close_connection_pool)
        for sentinel in cast("Any", self.connection_pool).sentinel_manager.sentinels:
            await sentinel.aclose()


def _sentinel_client(url: str, options: dict[str, Any]) -> "Redis":
    target = SentinelUrl.parse(url)
    sentinel_options: dict[str, Any] = {
        "socket_timeout": 1.0,
        "socket_connect_timeout": 1.0,
        "password": target.sentinel_password,
    }
    sentinel_options |= _encryption(url)
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        list(target.hosts), sentinel_kwargs=sentinel_options
    )
    options |= _encryption(url)
    options |= {"db": target.db, "username": target.username, "password": target.password}
    client: Redis = sentinel.master_for(
        target.master, redis_class=_MasterClient, connection_pool_class=MasterPool, **options
    )
    return client


def _cluster_client(target: ClusterUrl, options: dict[str, Any]) -> "Redis":
    options |= {"username": target.username, "password": target.password}

    def new_client(address: Address) -> "Redis":
        client: Redis = Redis(host=address[0], port=address[1], **options)
        make_cancellable(client)
        return client

    return ClusterClient(Router(target.hosts, new_client))
