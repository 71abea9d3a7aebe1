"""Addresses of more than one server: `redis+cluster://[user:password@]host:port[,host:port…]` and `redis+sentinel://…`."""

from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from shared.errors import InvalidConfiguration

__all__ = ("CLUSTER_SCHEME", "SENTINEL_SCHEME", "ClusterUrl", "SentinelUrl", "is_cluster_url", "is_sentinel_url")

CLUSTER_SCHEME: Final = "redis+cluster"
_DEFAULT_PORT: Final = "6379"


def is_cluster_url(url: str) -> bool:
    """Return whether this is the address of a cluster, with TLS or without."""
    return url.startswith((f"{CLUSTER_SCHEME}:", f"{CLUSTER_SCHEME.replace('redis', 'rediss')}:"))


def is_sentinel_url(url: str) -> bool:
    """Return whether this is the address of a master found through Sentinels, with TLS or without."""
    return url.startswith((f"{SENTINEL_SCHEME}:", f"{SENTINEL_SCHEME.replace('redis', 'rediss')}:"))


@dataclass(frozen=True, slots=True)
class ClusterUrl:
    """The parts of a `redis+cluster://` address. `hosts` are some nodes of it; they name the others."""

    hosts: tuple[tuple[str, int], ...]
    username: str | None = None
    password: str | None = None

    def __repr__(self) -> str:
        return f"<ClusterUrl via {len(self.hosts)} nodes>"

    @classmethod
    def parse(cls, url: str) -> Self:
        """Raises `InvalidConfiguration`."""
        parts = urlsplit(url)
        *credentials, hosts = parts.netloc.rsplit("@", 1)
        username, _, password = credentials[0].partition(":") if credentials else ("", "", "")
        if not hosts or parts.path.strip("/") not in {"", "0"}:
            raise InvalidConfiguration(
                f"{CLUSTER_SCHEME}:// needs hosts and no more, e.g. …://h1:6379,h2:6379; a cluster has one database, 0"
            )
        return cls(
            hosts=tuple(_cluster_host(host) for host in hosts.split(",")),
            username=unquote(username) or None,
            password=unquote(password) or None,
        )


def _cluster_host(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text else (text, "", _DEFAULT_PORT)
    if not host or not port.isdecimal():
        raise InvalidConfiguration(f"not the address of a cluster's node: {text!r}")
    return host, int(port)


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


def _host(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":") if ":" in text else (text, "", str(_DEFAULT_SENTINEL_PORT))
    if not host or not port.isdecimal():
        raise InvalidConfiguration(f"not a sentinel address: {text!r}")
    return host, int(port)
