"""The call to a provider with what its entry adds: the key where it belongs, more headers, a query."""

from typing import Final
from urllib.parse import urlencode

from services.worker.providers.dialect import Call
from shared.settings.providers import ProviderSettings

__all__ = ("addressed", "asked", "credentials_of", "posted")

_JSON: Final = "application/json"


def posted(
    path: str,
    settings: ProviderSettings,
    body: bytes,
    *,
    accept: str = "text/event-stream",
    credentials: dict[str, str] | None = None,
) -> Call:
    """A completion; the entry's headers replace the dialect's."""
    headers = {"Accept": accept, "Content-Type": _JSON, **(credentials or {})}
    return Call("POST", addressed(path, settings), _with_extras(headers, settings), body)


def asked(path: str, settings: ProviderSettings, *, credentials: dict[str, str] | None = None) -> Call:
    """A question that costs nothing."""
    return Call("GET", addressed(path, settings), _with_extras(credentials or {}, settings))


def addressed(path: str, settings: ProviderSettings) -> str:
    """The path with the entry's query."""
    if not settings.extra_query:
        return path
    return f"{path}{'&' if '?' in path else '?'}{urlencode(settings.extra_query)}"


def credentials_of(
    key: str | None, settings: ProviderSettings, *, header: str = "Authorization", prefix: str = "Bearer "
) -> dict[str, str]:
    """The header with the key: the entry's own, or the dialect's."""
    if key is None:
        return {}
    if settings.api_key_header is None:
        return {header: prefix + key}
    is_bearer = settings.api_key_header.lower() == "authorization"
    return {settings.api_key_header: f"Bearer {key}" if is_bearer else key}


def _with_extras(headers: dict[str, str], settings: ProviderSettings) -> dict[str, str]:
    extra = {name.lower() for name in settings.extra_headers}
    kept = {name: value for name, value in headers.items() if name.lower() not in extra}
    return kept | settings.extra_headers
