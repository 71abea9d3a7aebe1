"""Which addresses in the content of a request go on to a provider."""

from typing import Any

import pytest

from services.worker.providers.conversation.addresses import check_address, check_content
from services.worker.providers.openai.dialect import OPENAI
from shared.errors import ProviderError, ProviderRejected, ProviderUnsupported
from tests.unit.worker.providers.reading import entry

__all__ = ()

PRIVATE = [
    "https://localhost/a",
    "https://LOCALHOST./a",
    "https://127.0.0.1/a",
    "https://127.1/a",
    "https://2130706433/a",
    "https://0x7f.1/a",
    "https://[::1]/a",
    "https://[fe80::1%25eth0]/a",
    "https://169.254.169.254/latest/meta-data",
    "https://redis:6379/",
    "https://db.internal/a",
    "https://user@10.0.0.1/a",
    "https://[::ffff:10.0.0.1]/a",
    "https:///a",
    "https://[/a",
]


@pytest.mark.parametrize("url", PRIVATE)
def test_private_networks_are_not_fetched_from(url: str) -> None:
    with pytest.raises(ProviderUnsupported, match="private"):
        check_address(url, entry(OPENAI))


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://example.com/", "ftp://example.com/", "//a.b", "x", ""])
def test_only_allowed_schemes_pass(url: str) -> None:
    with pytest.raises(ProviderUnsupported, match="scheme"):
        check_address(url, entry(OPENAI))


@pytest.mark.parametrize("url", ["https://example.com/a.png", "HTTPS://example.com", "data:image/png;base64,QUJD"])
def test_the_others_pass(url: str) -> None:
    check_address(url, entry(OPENAI))


def content(*parts: Any) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"type": "image_url", "image_url": {"url": "http://example.com/a.png"}}, ProviderUnsupported),
        ({"type": "image_url", "image_url": "https://127.0.0.1/a.png"}, ProviderUnsupported),
        ({"type": "video_url", "video_url": {"url": "file:///a.mp4"}}, ProviderUnsupported),
        ({"type": "hologram", "hologram": "x"}, ProviderUnsupported),
        ({"text": "x"}, ProviderRejected),
        ("x", ProviderRejected),
    ],
)
def test_parts_that_go_on_as_they_are_are_checked(part: Any, kind: type[ProviderError]) -> None:
    with pytest.raises(kind, match=r"messages\[0\].content\[0\]"):
        check_content(content(part), entry(OPENAI))


def test_an_entry_may_allow_more() -> None:
    hologram = {"type": "hologram", "hologram": {"url": "http://example.com/a"}}
    check_content(content(hologram), entry(OPENAI, allow_parts=["hologram"], allow_schemes=["http"]))
    with pytest.raises(ProviderUnsupported, match="scheme"):
        check_content(content(hologram), entry(OPENAI, allow_parts="*"))


def test_words_may_hold_any_address() -> None:
    check_content([*content({"type": "text", "text": "file:///x"}), {"role": "user", "content": "x"}], entry(OPENAI))
