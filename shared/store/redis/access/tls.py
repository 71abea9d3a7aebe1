"""TLS to Redis, from the options in its address: `?ssl_ca_certs=…&ssl_certfile=…&ssl_keyfile=…`.

redis-py 5.3 verifies certificates but not whom they were made out to, so whoever has any certificate of the same
authority could stand in Redis' place. Here names are checked unless the address says `ssl_check_hostname=no`.
"""

from typing import Any, Final
from urllib.parse import parse_qsl, urlsplit

from shared.errors import InvalidConfiguration

__all__ = ("is_encrypted", "is_unverified", "tls_options")

_TLS_SCHEME: Final = "rediss"
_PATHS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
_REQUIREMENTS: Final = ("none", "optional", "required")
_YES: Final = ("1", "true", "yes", "on")
_NO: Final = ("0", "false", "no", "off")


def is_encrypted(url: str) -> bool:
    """Return whether this is an address with TLS: `rediss://`, `rediss+sentinel://` or `rediss+cluster://`."""
    return urlsplit(url).scheme.partition("+")[0] == _TLS_SCHEME


def is_unverified(url: str) -> bool:
    """Return whether somebody else could pose as Redis unnoticed: encrypted, but to an unverified host."""
    return is_encrypted(url) and not tls_options(url)["ssl_check_hostname"]


def tls_options(url: str) -> dict[str, Any]:
    """redis-py's options for the TLS of this address; none without. Raises `InvalidConfiguration`."""
    if not is_encrypted(url):
        return {}
    query = dict(parse_qsl(urlsplit(url).query))
    required = query.get("ssl_cert_reqs", "required")
    if required not in _REQUIREMENTS:
        raise InvalidConfiguration(f"ssl_cert_reqs is one of {', '.join(_REQUIREMENTS)}")
    named: dict[str, Any] = {name: query[name] for name in _PATHS if name in query}
    is_checked = required != "none" and _is_yes(query.get("ssl_check_hostname", "yes"))
    return {"ssl_cert_reqs": required, "ssl_check_hostname": is_checked, **named}


def _is_yes(word: str) -> bool:
    if word.lower() not in (*_YES, *_NO):
        raise InvalidConfiguration("ssl_check_hostname is yes or no")
    return word.lower() in _YES
