"""Addresses in the content of a request: which of them may be handed to a provider.

A provider fetches them, and one in the operator's own network would fetch from there. So schemes are those that its
entry allows, and hosts that are private in themselves are refused. A public name may still lead to a private address:
only the provider can see that.
"""

from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

from shared.errors import ProviderRejected, ProviderUnsupported
from shared.settings.providers import ProviderSettings

__all__ = ("check_address", "check_content")

_PRIVATE_NAMES: Final = ("localhost", ".localhost", ".local", ".internal", ".lan", ".home.arpa")
_MOST_DEPTH: Final = 4
_FETCHED: Final = frozenset({"http", "https"})
# Part types that hold nothing but words.
_WORDS: Final = frozenset({"text", "refusal", "thinking", "reasoning", "redacted_thinking", "tool_call"})
# Those of the chat API and what compatible ones have beside them.
_PARTS: Final = _WORDS | {"image_url", "input_audio", "file", "video_url", "audio_url", "input_image", "document_url"}


def check_address(url: str, settings: ProviderSettings, *, where: str = "messages") -> None:
    """Raise a `ProviderError` unless the provider's entry allows the address."""
    scheme = url.partition(":")[0].lower()
    if scheme not in settings.allow_schemes:
        raise ProviderUnsupported(f"{where}: this model provider may not be sent an address of this scheme.")
    if scheme in _FETCHED and _is_private(url):
        raise ProviderUnsupported(f"{where}: this model provider may not be sent an address in a private network.")


def check_content(messages: Any, settings: ProviderSettings) -> None:
    """Check the part types and addresses of messages that go on as they are. Raises a `ProviderError`."""
    for number, message in enumerate(messages):
        content = message.get("content")
        for place, part in enumerate(content) if isinstance(content, list) else ():
            _check_part(part, settings, f"messages[{number}].content[{place}]")


def _check_part(part: object, settings: ProviderSettings, where: str) -> None:
    named = part.get("type") if isinstance(part, dict) else None
    if not isinstance(part, dict) or not isinstance(named, str):
        raise ProviderRejected(f"{where}: a part is an object with a type.")
    if named not in _PARTS and not settings.allows_part(named):
        raise ProviderUnsupported(f"{where}: this model provider may not be sent a part of this type.")
    if named not in _WORDS:
        for url in _addresses(part, _MOST_DEPTH):
            check_address(url, settings, where=where)


def _addresses(fields: Mapping[str, Any], depth: int) -> list[str]:
    """Every text in a member whose name says that it is an address."""
    found: list[str] = []
    for name, value in fields.items():
        if isinstance(value, str) and (name == "url" or name.endswith(("_url", "_uri"))):
            found.append(value)
        elif isinstance(value, dict) and depth:
            found += _addresses(value, depth - 1)
    return found


def _is_private(url: str) -> bool:
    try:
        host = urlsplit(url).hostname or ""
    except ValueError:
        return True
    host = host.rstrip(".")
    if not host or host in _PRIVATE_NAMES or host.endswith(_PRIVATE_NAMES[1:]):
        return True
    try:
        return not ip_address(host.partition("%")[0]).is_global
    except ValueError:
        # `2130706433` and `0x7f.1` are addresses to many a resolver, and no public name ends in a number.
        return "." not in host or host.rpartition(".")[2].isdigit() or host.rpartition(".")[2].startswith("0x")
