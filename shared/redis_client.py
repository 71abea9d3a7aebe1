"""Clients for `TAILRACE_REDIS_URL`: one Redis, or a master found through Sentinels.

`redis://`, `rediss://` and `unix://` are redis-py's own forms. `redis+sentinel://[user:password@]host:port[,host:port…]/master[/db]`
asks the Sentinels for the master at each connect, so a failover needs nothing but a new connection.
"""

from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from shared.errors import InvalidConfiguration

__all__ = ("SENTINEL_SCHEME", "SentinelUrl", "open_client")

SENTINEL_SCHEME = "redis+sentinel"
_DEFAULT_SENTINEL_PORT = 26379


@dataclass(frozen=True, slots=True)
class SentinelUrl:
    """The parts of a `redis+sentinel://` address."""

    hosts: tuple[tuple[str, int], ...]
    master: str
    db: int = 0
    username: str | None = None
    password: str | None = None
    sentinel_password: str | None = None

    def __repr__(self) -> str:
        return f"<SentinelUrl {self.master} via {len(self.hosts)} sentinels>"

    @classmethod
    def parse(cls, url: str) -> Self:
        parts = urlsplit(url)
        *credentials, hosts = parts.netloc.rsplit("@", 1)
        username, _, password = credentials[0].partition(":") if credentials else ("", "", "")
        path = [unquote(part) for part in parts.path.split("/") if part]
        if not hosts or not path or len(path) > 2 or (len(path) == 2 and not path[1].isdecimal()):
            raise InvalidConfiguration(
                f"{SENTINEL_SCHEME}:// needs hosts and a master name, e.g. …://h1:26379,h2:26379/mymaster"
            )
        return cls(
            hosts=tuple(_host(host) for host in hosts.split(",")),
            master=path[0],
            db=int(path[1]) if len(path) == 2 else 0,
            username=unquote(username) or None,
            password=unquote(password) or None,
            sentinel_password=dict(parse_qsl(parts.query)).get("sentinel_password"),
        )


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
    client = _sentinel_client(url, options) if url.startswith(f"{SENTINEL_SCHEME}:") else Redis.from_url(url, **options)
    # Blocks repeat field names, which redis-py's dictionaries would swallow; and flat lists are cheaper anyway.
    client.response_callbacks["XRANGE"] = _as_it_came
    return client


def _sentinel_client(url: str, options: dict[str, Any]) -> "Redis":
    target = SentinelUrl.parse(url)
    sentinel_options = {"socket_timeout": 1.0, "socket_connect_timeout": 1.0, "password": target.sentinel_password}
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        list(target.hosts), sentinel_kwargs=sentinel_options
    )
    master: Redis = sentinel.master_for(
        target.master, db=target.db, username=target.username, password=target.password, **options
    )
    return master


def _as_it_came(response: Any, **_: Any) -> Any:
    return response


def _host(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text else (text, "", str(_DEFAULT_SENTINEL_PORT))
    if not host or not port.isdecimal():
        raise InvalidConfiguration(f"not a sentinel address: {text!r}")
    return host, int(port)
