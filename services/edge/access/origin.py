"""From where a browser may have a request sent: always on, whoever the caller is.

Whatever page a browser shows can have it send requests to any address, localhost too, and needs no leave to do so as
long as it does not want to read the answer. A page whose own host name is made to lead here may read answers as well.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Final, Self

from shared.errors import HostNotAllowed, InvalidRequest, OriginNotAllowed, TailraceError
from shared.settings.settings import Settings

__all__ = ("OriginRule",)

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_HOST: Final = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[^\s/\\@:?#\[\]]{1,255})(?::([0-9]{1,5}))?", re.IGNORECASE)
_ORIGIN: Final = re.compile(r"(https?)://(.+)", re.IGNORECASE)
_PORTS: Final = {"http": "80", "https": "443"}
_WILDCARD: Final = "*."


@dataclass(frozen=True, slots=True)
class _Place:
    """A host, in small letters and without a final dot, and its port if one was named."""

    name: str
    port: str | None

    @classmethod
    def read(cls, text: str) -> Self | None:
        found = _HOST.fullmatch(text)
        if found is None:
            return None
        return cls(found[1].lower().removesuffix("."), found[2])

    def is_at(self, other: "_Place", *, default_port: str) -> bool:
        return self.name == other.name and (self.port or default_port) == (other.port or default_port)


class OriginRule:
    """The host names that are ours, and the origins whose pages may change anything."""

    def __init__(self, *, hosts: Iterable[str] = (), origins: Iterable[str] = ()) -> None:
        names = frozenset(name.lower() for name in hosts)
        self._names = {"localhost"} | {name for name in names if not name.startswith(_WILDCARD)}
        self._endings = tuple(name[1:] for name in names if name.startswith(_WILDCARD))
        self._origins = frozenset(origin.lower() for origin in origins)

    def __repr__(self) -> str:
        return f"<OriginRule {sorted(self._names)} {sorted(self._endings)} {sorted(self._origins)}>"

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(hosts=settings.allowed_hosts, origins=settings.allowed_origins)

    def refusal(self, scope: Mapping[str, Any]) -> TailraceError | None:
        """Return the reason to refuse this request, else None. Programs send no Origin: `curl -d` goes on working."""
        hosts, origins, site = _headers(scope["headers"])
        if len(hosts) > 1 or (not hosts and scope["http_version"] != "1.0"):
            return InvalidRequest("A request has one Host.")
        host = _Place.read(hosts[0]) if hosts else None
        if hosts and host is None:
            return InvalidRequest("The Host is not valid.")
        if host is not None and not self._is_ours(host.name):
            return HostNotAllowed()
        # A WebSocket has no method, and no page of another site may read what comes over it.
        if scope.get("method") in _SAFE or self._may_change(host, origins, site):
            return None
        return OriginNotAllowed()

    def _is_ours(self, name: str) -> bool:
        # An address cannot be made to lead elsewhere: the browser connects to what it says.
        return name in self._names or _is_address(name) or name.endswith(self._endings)

    def _may_change(self, host: _Place | None, origins: list[str], site: str) -> bool:
        if not origins:
            return site != "cross-site"
        if len(origins) > 1:
            return False
        origin = origins[0].lower()
        if origin in self._origins:
            return True
        return site != "cross-site" and host is not None and _is_own(origin, host)


def _headers(headers: Iterable[tuple[bytes, bytes]]) -> tuple[list[str], list[str], str]:
    """Every Host, every Origin, and what the browser says of the page's site."""
    hosts, origins, site = [], [], ""
    for name, value in headers:
        if name == b"host":
            hosts.append(value.decode("latin-1"))
        elif name == b"origin":
            origins.append(value.decode("latin-1"))
        elif name == b"sec-fetch-site" and site != "cross-site":
            site = value.decode("latin-1").lower()
    return hosts, origins, site


def _is_own(origin: str, host: _Place) -> bool:
    """Return whether the page came from the host that was asked. The scheme is ignored: a proxy may have ended TLS."""
    found = _ORIGIN.fullmatch(origin)
    place = _Place.read(found[2]) if found is not None else None
    return found is not None and place is not None and place.is_at(host, default_port=_PORTS[found[1]])


def _is_address(name: str) -> bool:
    try:
        _ = IPv6Address(name[1:-1]) if name.startswith("[") else IPv4Address(name)
    except ValueError:
        return False
    return True
