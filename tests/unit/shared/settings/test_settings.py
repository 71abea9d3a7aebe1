"""Settings: environment over file over defaults, and nothing unknown."""

import os
from pathlib import Path

import pytest

from shared.errors import InvalidConfiguration
from shared.settings.providers import ProviderSettings
from shared.settings.settings import CONFIG_VARIABLE, Settings
from shared.store.calls import Retention

__all__ = ()


@pytest.fixture(autouse=True)
def plain_process(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings from outside: an empty directory and no variables of ours."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TAILRACE_")]:
        monkeypatch.delenv(name)


def write(path: str, text: str) -> None:
    Path(path).write_text(text, encoding="utf-8")


def test_the_defaults_are_enough() -> None:
    settings = Settings.load()
    assert settings.redis_url == "redis://127.0.0.1:6379/0"
    assert settings.retention == Retention(live_ms=3_600_000, retain_ms=3_600_000, tombstone_ms=86_400_000)
    assert settings.streams_and_queue_share_redis
    assert settings.providers == []


def test_environment_wins_over_file_and_file_over_default(monkeypatch: pytest.MonkeyPatch) -> None:
    write("tailrace.toml", "retain_s = 60\nlease_s = 5\n")
    monkeypatch.setenv("TAILRACE_LEASE_S", "7.5")
    settings = Settings.load()
    assert (settings.retain_s, settings.lease_s, settings.sweep_s) == (60, 7.5, 2)


def test_the_file_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    write("tailrace.toml", "retain_s = 60\n")
    write("other.toml", "retain_s = 61\n")
    monkeypatch.setenv(CONFIG_VARIABLE, "other.toml")
    assert Settings.load().retain_s == 61


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("TAILRACE_RETIAN_S", "60", "TAILRACE_RETIAN_S"),
        ("TAILRACE_", "60", "unknown"),
        ("TAILRACE_RETAIN_S", "soon", "retain_s"),
        ("TAILRACE_RETAIN_S", "0", "retain_s"),
        ("TAILRACE_RETAIN_S", "-1", "retain_s"),
        ("TAILRACE_RETAIN_S", "inf", "retain_s"),
        ("TAILRACE_RETAIN_S", "nan", "retain_s"),
        ("TAILRACE_BUCKETS", "257", "buckets"),
        ("TAILRACE_BUCKETS", "0", "buckets"),
        ("TAILRACE_PREFIX", "a:b", "prefix"),
        ("TAILRACE_PREFIX", "", "prefix"),
        ("TAILRACE_MAX_BODY_BYTES", "1.5", "max_body_bytes"),
        ("TAILRACE_LOG_LEVEL", "loud", "log_level"),
        ("TAILRACE_PROVIDERS", "{not json", "providers"),
        (CONFIG_VARIABLE, "missing.toml", "missing.toml"),
        (CONFIG_VARIABLE, ".", "not there"),
    ],
)
def test_a_mistake_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidConfiguration, match=said) as raised:
        Settings.load()
    assert "\n" not in raised.value.message


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("retian_s = 60", "retian_s"),
        ("retain_s = ", "not TOML"),
        ("retain_s = 'x'\nlease_s = -1", "retain_s.*; .*lease_s"),
        ("[[providers]]\nname = 'p'", "providers.0.base_url"),
        ("[[providers]]\nname = 'p'\nbase_url = 'ftp://h'\nmodels = ['*']", "must begin with http"),
        ("[[providers]]\nname = 'P Q'\nbase_url = 'http://h'\nmodels = ['*']", "providers.0.name"),
        ("[[providers]]\nname = 'p'\nbase_url = 'http://h'\nmodels = []", "providers.0.models"),
        ("[[providers]]\nname = 'p'\nbase_url = 'http://h'\nmodels = ['*']\ncolour = 'red'", "providers.0.colour"),
    ],
)
def test_a_mistake_in_the_file_is_named(text: str, said: str) -> None:
    write("tailrace.toml", text)
    with pytest.raises(InvalidConfiguration, match=said):
        Settings.load()


def test_a_file_of_another_encoding_is_named() -> None:
    Path("tailrace.toml").write_bytes(b'prefix = "\xff"')
    with pytest.raises(InvalidConfiguration, match="not TOML"):
        Settings.load()


def test_what_is_not_for_the_product_is_let_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILRACE_REQUIRE_ALL", "1")
    monkeypatch.setenv("TAILRACE_TEST_REDIS_URL", "redis://127.0.0.1:1")
    monkeypatch.setenv("TAILRACETRACK", "1")
    assert Settings.load() == Settings()


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILRACE_SECRET", "s3cret")
    settings = Settings.load()
    assert "s3cret" not in repr(settings)
    assert settings.secret is not None
    assert settings.secret.get_secret_value() == "s3cret"


def test_a_mistake_does_not_quote_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAILRACE_PROVIDERS", '[{"name": "p", "api_key": "s3cret"')
    with pytest.raises(InvalidConfiguration) as raised:
        Settings.load()
    assert "s3cret" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().retain_s = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("queue_url", "shared"), [(None, True), ("redis://127.0.0.1:6379/0", True), ("redis://127.0.0.1:6379/1", False)]
)
def test_the_queue_may_live_elsewhere(queue_url: str | None, *, shared: bool) -> None:
    assert Settings(queue_url=queue_url).streams_and_queue_share_redis == shared


def test_providers_are_asked_in_the_order_of_the_file() -> None:
    write(
        "tailrace.toml",
        """
        [[providers]]
        name = "local"
        base_url = "http://127.0.0.1:8089/v1/"
        models = ["smollm2", "gpt-*"]

        [[providers]]
        name = "far"
        base_url = "https://models.example/v1"
        api_key_env = "FAR_KEY"
        models = ["GPT-*", "gpt-5"]
        """,
    )
    settings = Settings.load()
    local, far = settings.providers
    assert settings.providers_of("gpt-5") == [local, far]
    assert settings.providers_of("GPT-5") == [far]
    assert settings.providers_of("smollm2") == [local]
    assert settings.providers_of("smollm22") == []
    assert local.base_url == "http://127.0.0.1:8089/v1"
    assert far.api_key({"FAR_KEY": "k"}) == "k"
    assert far.api_key({}) is None
    assert local.api_key({"FAR_KEY": "k"}) is None


def test_a_provider_is_openai_without_continuation_unless_said() -> None:
    provider = ProviderSettings(name="p", base_url="http://h", models=["*"])
    assert (provider.dialect, provider.continuation, provider.include_usage) == ("openai", "none", True)


def test_what_is_offered_is_what_is_named_and_each_model_once() -> None:
    far = ProviderSettings(name="far", base_url="https://far.example/v1", models=["gpt-*"])
    near = ProviderSettings(name="near", base_url="http://near.example/v1", models=["small", "gpt-5", "llama-?"])
    settings = Settings(providers=[far, near], offered_models=["gpt-5", "llama-3", "claude-9"])
    assert settings.offers_of(far) == ["gpt-5"]
    assert settings.offers_of(near) == ["small", "llama-3"]
