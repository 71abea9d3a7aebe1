"""Host names, origins and sites: which requests a browser may have been made to send, and which nobody answers."""

from typing import Any

import pytest

from services.edge.access.origin import OriginRule
from shared.errors import InvalidConfiguration
from shared.settings.settings import Settings

__all__ = ()

HERE = "127.0.0.1:8000"


def verdict(method: str = "POST", *, rule: OriginRule | None = None, version: str = "1.1", **headers: Any) -> str:
    """The code of the refusal, or `ok`. A header given as a list is sent several times."""
    pairs: list[tuple[bytes, bytes]] = []
    for name, values in ({"host": HERE} | headers).items():
        field, several = name.replace("_", "-").encode(), values if isinstance(values, list) else [values]
        pairs += [(field, value.encode("latin-1")) for value in several]
    scope = {"method": method, "http_version": version, "headers": pairs}
    refusal = (rule or OriginRule()).refusal(scope)
    return refusal.code if refusal else "ok"


OURS = [
    "127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:8000", "localhost.", "[::1]", "[::1]:8000", "10.1.2.3:80",
    "203.0.113.7", "[2001:db8::1]:8000", "[::ffff:127.0.0.1]",
]  # fmt: skip
FOREIGN = [
    "evil.test", "evil.test:8000", "localhost.evil.test", "127.0.0.1.evil.test", "notlocalhost", "127.1", "0x7f.0.0.1",
    "2130706433", "0177.0.0.1", "1.2.3.4.5", "xn--lcalhost-54a", "evil.test.", "127.0.0.1%00.evil.test",
]  # fmt: skip
INVALID = [
    "", " ", "a b", "localhost:", "localhost:x", "localhost:999999", "user@localhost", "localhost/x", "[::1", "::1",
    "[::1%eth0]", "http://localhost", "localhost:80:80", "a" * 300, "localhost\\x", "localhost?x", "localhost#x",
]  # fmt: skip


@pytest.mark.parametrize("host", OURS)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_addresses_and_localhost_are_ours(method: str, host: str) -> None:
    assert verdict(method, host=host) == "ok"


@pytest.mark.parametrize("host", FOREIGN)
@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "POST", "DELETE"])
def test_other_names_are_nobodys(method: str, host: str) -> None:
    """A name can be made to lead here; then its page is of the same origin, and may read all there is."""
    assert verdict(method, host=host) == "host_not_allowed"


@pytest.mark.parametrize("host", INVALID)
def test_what_is_no_host_is_a_bad_request(host: str) -> None:
    assert verdict("GET", host=host) == "invalid_request"


def test_a_request_has_one_host() -> None:
    assert verdict("GET", host=[]) == "invalid_request"
    assert verdict("GET", host=[HERE, HERE]) == "invalid_request"
    assert verdict("GET", host=[HERE, "evil.test"]) == "invalid_request"
    assert verdict("GET", host=[HERE, HERE], version="1.0") == "invalid_request"


def test_http_1_0_may_do_without() -> None:
    """No browser speaks it."""
    assert verdict("GET", host=[], version="1.0") == "ok"
    assert verdict("GET", host="evil.test", version="1.0") == "host_not_allowed"
    assert verdict("POST", host=[], version="1.0", origin=f"http://{HERE}") == "origin_not_allowed"


def test_names_can_be_allowed() -> None:
    rule = OriginRule(hosts=["Chat.Example.org", "*.tailrace.test"])
    for host in (
        "chat.example.org",
        "CHAT.example.org:8443",
        "chat.example.org.",
        "a.tailrace.test",
        "b.a.tailrace.test",
    ):
        assert verdict("GET", rule=rule, host=host) == "ok"
    for host in (
        "example.org",
        "x.chat.example.org",
        "tailrace.test",
        "eviltailrace.test",
        "chat.example.org.evil.test",
    ):
        assert verdict("GET", rule=rule, host=host) == "host_not_allowed"


# Origins

OWN = [
    (HERE, f"http://{HERE}"), (HERE, f"https://{HERE}"), ("localhost:8000", "http://LOCALHOST:8000"),
    ("localhost", "http://localhost"), ("localhost:80", "http://localhost"), ("localhost", "https://localhost:443"),
    ("localhost:443", "https://localhost"), ("[::1]:8000", "http://[::1]:8000"), ("10.0.0.5", "https://10.0.0.5"),
]  # fmt: skip
OTHERS = [
    "null", "", "http://evil.test", "http://evil.test:8000", "http://127.0.0.1", "http://127.0.0.1:8001",
    "http://localhost:8000", f"http://{HERE}.evil.test", f"http://evil.test/{HERE}", f"http://{HERE}/", f"ftp://{HERE}",
    f"http://{HERE}@evil.test", f"http://x@{HERE}", HERE, f"http:// {HERE}", "file://", "chrome-extension://abcdef",
    f"http://{HERE} http://evil.test",
]  # fmt: skip


@pytest.mark.parametrize(("host", "origin"), OWN)
def test_own_pages_may_change_things(host: str, origin: str) -> None:
    assert verdict(host=host, origin=origin, sec_fetch_site="same-origin") == "ok"
    assert verdict("DELETE", host=host, origin=origin) == "ok"


@pytest.mark.parametrize("origin", OTHERS)
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "TRACE", "post", "X"])
def test_other_pages_may_not(method: str, origin: str) -> None:
    assert verdict(method, origin=origin) == "origin_not_allowed"


@pytest.mark.parametrize("site", ["same-origin", "same-site", "none", "cross-site"])
def test_what_a_browser_says_of_the_site_makes_no_foreign_origin_good(site: str) -> None:
    assert verdict(origin="http://evil.test", sec_fetch_site=site) == "origin_not_allowed"


def test_across_sites_is_foreign_without_an_origin_too() -> None:
    assert verdict(sec_fetch_site="cross-site") == "origin_not_allowed"
    assert verdict(sec_fetch_site="Cross-Site") == "origin_not_allowed"
    assert verdict(sec_fetch_site=["cross-site", "none"]) == "origin_not_allowed"
    assert verdict(origin=f"http://{HERE}", sec_fetch_site="cross-site") == "origin_not_allowed"
    assert verdict(sec_fetch_site="none") == "ok"


def test_two_origins_are_none() -> None:
    assert verdict(origin=[f"http://{HERE}", "http://evil.test"]) == "origin_not_allowed"


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS"])
def test_reading_is_left_to_the_browser(method: str) -> None:
    """It shows no answer to a page of another site; a link from there to the chat page is fine."""
    assert verdict(method, origin="http://evil.test", sec_fetch_site="cross-site") == "ok"


def test_programs_send_no_origin() -> None:
    assert verdict(content_type="application/x-www-form-urlencoded") == "ok"


def test_origins_can_be_allowed() -> None:
    rule = OriginRule(origins=["https://chat.example.org", "http://localhost:5173"])
    assert verdict(rule=rule, origin="https://chat.example.org", sec_fetch_site="cross-site") == "ok"
    assert verdict(rule=rule, origin="http://LOCALHOST:5173", sec_fetch_site="same-site") == "ok"
    for origin in ("http://chat.example.org", "https://chat.example.org:8443", "https://x.chat.example.org", "null"):
        assert verdict(rule=rule, origin=origin) == "origin_not_allowed"


# Settings


def test_lists_in_the_environment_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILRACE_ALLOWED_HOSTS", "chat.example.org, *.tailrace.test")
    monkeypatch.setenv("TAILRACE_ALLOWED_ORIGINS", "https://chat.example.org")
    settings = Settings.load()
    assert settings.allowed_hosts == ["chat.example.org", "*.tailrace.test"]
    rule = OriginRule.of(settings)
    assert verdict(rule=rule, host="x.tailrace.test", origin="https://chat.example.org") == "ok"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TAILRACE_ALLOWED_HOSTS", "chat.example.org:8000"),
        ("TAILRACE_ALLOWED_HOSTS", "https://chat.example.org"),
        ("TAILRACE_ALLOWED_HOSTS", "*"),
        ("TAILRACE_ALLOWED_HOSTS", "a.*.example.org"),
        ("TAILRACE_ALLOWED_ORIGINS", "chat.example.org"),
        ("TAILRACE_ALLOWED_ORIGINS", "https://chat.example.org/"),
        ("TAILRACE_ALLOWED_ORIGINS", "*"),
        ("TAILRACE_ALLOWED_ORIGINS", "null"),
    ],
)
def test_what_allows_something_else_than_meant_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidConfiguration, match=name.removeprefix("TAILRACE_").lower()):
        Settings.load()
