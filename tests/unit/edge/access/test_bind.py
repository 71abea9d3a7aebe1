"""An edge without authentication listens where only this machine can come."""

import pytest

from services.edge.access.bind import refuse_open_bind
from shared.errors import InvalidConfiguration
from shared.settings.settings import Settings

__all__ = ()


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_loopback_is_free(host: str) -> None:
    refuse_open_bind(Settings(edge_host=host))


OPEN = ["0.0.0.0", "::", "", "10.0.0.5", "192.168.1.7", "2001:db8::1", "example.org", "fe80::1"]


@pytest.mark.parametrize("host", OPEN)
def test_elsewhere_somebody_has_to_want_it(host: str) -> None:
    with pytest.raises(InvalidConfiguration, match=r"no authentication.*TAILRACE_ALLOW_ANONYMOUS=1"):
        refuse_open_bind(Settings(edge_host=host))
    refuse_open_bind(Settings(edge_host=host, allow_anonymous=True))
