"""The addresses an edge may listen on while it has no authentication."""

from ipaddress import ip_address

from shared.errors import InvalidConfiguration
from shared.settings.settings import Settings

__all__ = ("refuse_open_bind",)


def refuse_open_bind(settings: Settings) -> None:
    """Raise `InvalidConfiguration` where strangers could spend the providers' keys, unless that is wanted."""
    if settings.allow_anonymous or _is_loopback(settings.edge_host):
        return
    raise InvalidConfiguration(
        f"an edge on {settings.edge_host or 'all addresses'} would let everybody who reaches it read all streams and "
        "spend the providers' keys, because there is no authentication: listen on 127.0.0.1, or, if something else "
        "keeps strangers away, set TAILRACE_ALLOW_ANONYMOUS=1"
    )


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
