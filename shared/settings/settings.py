"""Every setting, its default and its unit. Environment (`TAILRACE_*`) wins over the file, the file over defaults.

The file is named by `TAILRACE_CONFIG` (default `./tailrace.toml`, which may be absent). Unknown settings are refused
in both places: a misspelt bound that silently keeps its default is found at three in the morning.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from shared.errors import InvalidConfiguration
from shared.settings.providers import ProviderSettings, Seconds
from shared.store.calls import Retention
from shared.store.redis.address import is_cluster_url

__all__ = ("CONFIG_VARIABLE", "ENVIRONMENT_PREFIX", "Settings")

ENVIRONMENT_PREFIX = "TAILRACE_"
CONFIG_VARIABLE = "TAILRACE_CONFIG"

# Read by the command line, the test suite and the launcher, not by the product's processes.
_OTHER_VARIABLES = frozenset({CONFIG_VARIABLE, "TAILRACE_REQUIRE_ALL", "TAILRACE_URL"})
_OTHER_PREFIXES = ("TAILRACE_TEST_",)

Bytes = Annotated[int, Field(gt=0)]


def _listed(value: object) -> object:
    """A list as one writes it in a variable."""
    if not isinstance(value, str):
        return value
    return [part.strip() for part in value.split(",") if part.strip()]


_HOST_NAME = r"^(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*$"
_ORIGIN = r"^[a-z][a-z0-9+.-]*://[A-Za-z0-9_.\[\]:-]+$"
HostNames = Annotated[list[Annotated[str, Field(pattern=_HOST_NAME)]], NoDecode, BeforeValidator(_listed)]
Origins = Annotated[list[Annotated[str, Field(pattern=_ORIGIN)]], NoDecode, BeforeValidator(_listed)]


class Settings(BaseSettings):
    """Configuration of every process. Field `edge_port` is `TAILRACE_EDGE_PORT` in the environment."""

    model_config = SettingsConfigDict(env_prefix=ENVIRONMENT_PREFIX, extra="forbid", frozen=True)

    # Redis
    redis_url: str = Field(
        "redis://127.0.0.1:6379/0",
        description="Streams: redis://, unix://, redis+sentinel://, redis+cluster://; with TLS rediss://, rediss+…://",
    )
    queue_url: str | None = Field(
        None,
        description="Redis of the arq queue, if not that of the streams; required with a cluster.",
    )
    redis_timeout_s: Seconds = Field(5, description="Deadline of every Redis command.")
    prefix: str = Field("tailrace", pattern=r"^[A-Za-z0-9_.-]{1,64}$", description="First part of every Redis key.")
    buckets: int = Field(16, ge=1, le=256, description="Number of hash tags that new streams are spread over.")
    secret: SecretStr | None = Field(
        None, description="Key for idempotent stream ids; default: generated once, kept in Redis."
    )
    allow_eviction: bool = Field(False, description="Run even if Redis may evict keys. Streams can then be lost.")

    # Life of a stream
    retain_s: Seconds = Field(3600, description="How long a finished stream can be read.")
    live_ttl_s: Seconds = Field(3600, description="Expiry of a live stream, extended by each heartbeat.")
    tombstone_s: Seconds = Field(
        86_400, description="How long an expired or deleted stream answers 410 rather than 404."
    )
    dispatch_s: Seconds = Field(
        5,
        description="How long a created stream may wait for a worker before it is dispatched again.",
    )
    lease_s: Seconds = Field(10, description="How long a worker holds a stream without a heartbeat.")
    heartbeat_s: Seconds = Field(3, description="How often a worker renews its leases.")
    sweep_s: Seconds = Field(2, description="How often each worker checks for expired leases.")
    provider_tries: int = Field(4, ge=1, description="Requests for one attempt before the last error ends its stream.")
    policy_failover: bool = Field(
        False, description="Also ask the next provider if one refuses the content of a request."
    )
    max_attempts: int = Field(3, ge=1, description="Claims of a stream before it ends with worker_crash_loop.")

    # Limits
    max_body_bytes: Bytes = Field(2 * 1024 * 1024, description="Largest request body.")
    max_messages: int = Field(1000, ge=1, description="Most messages in a request.")
    max_stream_bytes: Bytes = Field(50 * 1024 * 1024, description="Byte budget of one stream.")
    max_total_bytes: Bytes = Field(500 * 1024 * 1024, description="Byte budget of all streams.")
    max_tenant_bytes: Bytes | None = Field(None, description="Byte budget of one tenant; default: that of all streams.")

    # Memory
    soft_share: float = Field(
        0.85, gt=0, le=1, description="Share of a byte budget from which finished streams are evicted."
    )
    free_share: float = Field(0.2, ge=0, lt=1, description="Share of a byte budget that an eviction frees.")
    budget_s: Seconds = Field(1, description="How often each worker maintains memory: folds, expires, evicts.")
    fold_bytes: Bytes = Field(
        3 * 1024, description="Size of the single entries of a live stream at which its writer folds them into a block."
    )
    block_bytes: Bytes = Field(
        1_000_000, le=4_000_000, description="Largest block; what a late reader gets in one event."
    )
    fold_after_s: Seconds = Field(3, description="How long after its end a stream is folded completely.")
    recount_s: Seconds = Field(10, description="How often a worker compares the sums of a bucket with its streams.")

    # Worker
    max_jobs: int = Field(1000, ge=1, description="Streams one worker pulls at the same time.")
    poll_delay_s: Seconds = Field(
        1, description="Longest pause between two checks of the queue; new jobs wake the worker at once."
    )
    flush_ms: int = Field(
        0, ge=0, description="Wait this long for more deltas before an append (the first never waits)."
    )
    worker_buffer_bytes: Bytes = Field(
        256 * 1024, description="Unacknowledged text of one stream at which the worker stops reading from its provider."
    )
    store_stall_s: Seconds = Field(
        30, description="How long a worker retries a refused append before it ends the stream."
    )
    worker_drain_s: Seconds = Field(
        20, description="On SIGTERM, how long running streams may take to finish before they are handed over."
    )

    worker_metrics_port: int | None = Field(None, ge=1, le=65535, description="Serve a worker's /metrics here.")
    worker_metrics_host: str = Field("127.0.0.1", description="Address that goes with worker_metrics_port.")

    # Edge
    edge_host: str = Field("127.0.0.1", description="Address to listen on.")
    edge_port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    allow_anonymous: bool = Field(
        False,
        description="Listen beyond loopback although there is no authentication: "
        "only where something else restricts access.",
    )
    allowed_hosts: HostNames = Field(
        default_factory=list,
        description="Host names that browsers may use, besides IP addresses and `localhost`, without ports; "
        "`*.example.org` is every subdomain. In the environment separated by commas.",
    )
    allowed_origins: Origins = Field(
        default_factory=list,
        description="Origins of other sites whose pages may create, cancel, delete, and read answers (CORS), e.g. "
        "`https://chat.example.org`. In the environment separated by commas.",
    )
    edge_drain_s: Seconds = Field(10, description="On SIGTERM, the time over which readers are moved to other edges.")
    edge_heartbeat_s: Seconds = Field(
        10, description="Interval of comments to an idle reader, so that proxies keep the connection."
    )
    retry_ms: int = Field(1000, ge=0, description="How long readers wait before they reconnect; jitter is added.")
    max_connection_s: Seconds = Field(600, description="Age at which a reader is asked to reconnect; jitter is added.")
    send_timeout_s: Seconds = Field(30, description="A reader that reads nothing for this long is cut off.")
    send_buffer_bytes: Bytes = Field(96 * 1024, description="SO_SNDBUF of a reader's socket.")
    tail_pace_s: Seconds = Field(0.005, description="Pause between two reads of the shared tail.")
    tail_count: int = Field(256, ge=1, description="Entries of one stream in one read of the tail.")
    feed_bytes: Bytes = Field(256 * 1024, description="Recent frames an edge keeps for each stream it follows.")
    edge_buffer_bytes: Bytes = Field(
        256 * 1024 * 1024,
        description="Recent frames an edge keeps for all streams; those of the quietest streams are dropped first. "
        "The same amount again for large states in flight.",
    )
    docs: bool = Field(True, description="Serve the OpenAPI page at /docs.")

    # Logs
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Lowest level that is logged.")
    log_format: Literal["auto", "json", "text"] = Field(
        "auto", description="auto: text on a terminal, else JSON lines."
    )

    log_provider_messages: bool = Field(
        False, description="Log a provider's message when it refuses a request. It may quote the prompt."
    )

    providers: list[ProviderSettings] = Field(
        default_factory=list, description="In the file: one `[[providers]]` table each, best first."
    )

    offered_models: list[str] = Field(
        default_factory=list,
        description="Names of models to offer where a provider has only patterns; `tailrace up` fills it with what "
        "the providers list.",
    )

    chat_replay_s: Seconds = Field(
        60,
        description="How long after its end an answer is still told to a page that resumes its chat: one that was cut "
        "off shortly before the end gets the rest in no other way.",
    )
    default_model: str = Field(
        "",
        max_length=256,
        description="The model of requests to `/api/chat` that name none; empty: they are refused.",
    )

    @classmethod
    def load(cls) -> Self:
        """Settings of this process. Raises `InvalidConfiguration` with what is wrong, in one line."""
        if unknown := cls.unknown_variables(os.environ):
            raise InvalidConfiguration(f"unknown environment variables: {', '.join(unknown)}")
        named = os.environ.get(CONFIG_VARIABLE)
        if named is not None and not Path(named).is_file():
            raise InvalidConfiguration(f"{CONFIG_VARIABLE} names a file that is not there: {named}")
        try:
            return cls()
        except (ValidationError, SettingsError, OSError, ValueError) as error:
            # Without its cause: the library's words quote what they do not understand, and that may be a secret.
            raise InvalidConfiguration(_explain(error)) from None

    @classmethod
    def unknown_variables(cls, environment: Mapping[str, str]) -> list[str]:
        """Return the variables that look like settings and are none."""
        known = set(cls.model_fields)
        return sorted(name for name in environment if _is_unknown(name, known=known))

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = Path(os.environ.get(CONFIG_VARIABLE, "tailrace.toml"))
        file = TomlConfigSettingsSource(settings_cls, toml_file=path)
        return init_settings, env_settings, file

    @model_validator(mode="after")
    def _leases_outlive_a_missed_heartbeat(self) -> Self:
        if self.lease_s < 2 * self.heartbeat_s:
            raise ValueError("lease_s must be at least twice heartbeat_s, or one lost heartbeat loses every stream")
        return self

    @model_validator(mode="after")
    def _the_queue_is_on_no_cluster(self) -> Self:
        if self.queue_url is None and is_cluster_url(self.redis_url):
            raise ValueError(
                "queue_url must name a single Redis when the streams are in a cluster: arq knows no cluster"
            )
        if self.queue_url is not None and is_cluster_url(self.queue_url):
            raise ValueError("queue_url must name a single Redis: arq knows no cluster")
        return self

    @property
    def retention(self) -> Retention:
        return Retention(
            live_ms=round(self.live_ttl_s * 1000),
            retain_ms=round(self.retain_s * 1000),
            tombstone_ms=round(self.tombstone_s * 1000),
        )

    @property
    def streams_and_queue_share_redis(self) -> bool:
        return self.queue_url is None or self.queue_url == self.redis_url

    def offers_of(self, provider: ProviderSettings) -> list[str]:
        """Names of models that this provider is the first to serve: those it names, then those to be offered."""
        named = [model for model in provider.models if not set("*?[").intersection(model)]
        names = dict.fromkeys([*named, *self.offered_models])
        return [model for model in names if self.providers_of(model)[:1] == [provider]]

    def providers_of(self, model: str) -> list[ProviderSettings]:
        """The providers that serve a model, in the order of the file."""
        return [provider for provider in self.providers if provider.serves(model)]


def _is_unknown(variable: str, *, known: set[str]) -> bool:
    return (
        variable.startswith(ENVIRONMENT_PREFIX)
        and variable not in _OTHER_VARIABLES
        and not variable.startswith(_OTHER_PREFIXES)
        and variable[len(ENVIRONMENT_PREFIX) :].lower() not in known
    )


def _explain(error: Exception) -> str:
    if isinstance(error, ValidationError):
        return "; ".join(f"{_where(problem)}: {problem['msg']}" for problem in error.errors())
    if isinstance(error, tomllib.TOMLDecodeError | UnicodeDecodeError):
        return f"the configuration file is not TOML: {error}"
    if isinstance(error, OSError):
        return f"the configuration file cannot be read: {error.strerror}"
    return str(error)


def _where(problem: Any) -> str:
    return ".".join(str(part) for part in problem["loc"])
