"""The settings of one provider."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = ("ProviderSettings",)


_NAME: Final = r"^[a-z0-9][a-z0-9_-]{0,63}$"
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _plain_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    return url.rstrip("/")


class ProviderSettings(BaseModel):
    """A completion API that workers may pull from. Only operators name one; a request never carries a URL."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=_NAME, description="What logs, metrics and readers call it.")
    dialect: str = Field("openai", pattern=_NAME, description="The API it speaks; workers know `openai`.")
    base_url: Annotated[str, AfterValidator(_plain_url)] = Field(description="Where it is, up to and including `/v1`.")
    api_key_env: str | None = Field(None, description="The variable that holds its key; only workers read it.")
    models: list[str] = Field(min_length=1, description="What it serves; `*` and `?` are wildcards, as in `gpt-*`.")
    continuation: Literal["prefill", "message", "none"] = Field(
        "none",
        description="How an interrupted answer can be continued: assistant prefill, a closing user turn, or not.",
    )
    connect_timeout_s: Seconds = Field(5, description="Longest time to connect.")
    first_token_timeout_s: Seconds = Field(60, description="Longest silence before the first token.")
    next_token_timeout_s: Seconds = Field(30, description="Longest silence between two tokens.")
    total_timeout_s: Seconds = Field(600, description="Longest answer.")
    include_usage: bool = Field(True, description="Ask for a usage chunk (stream_options.include_usage).")

    def serves(self, model: str) -> bool:
        """Whether a pattern of `models` (as in `gpt-*`) names this model."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    def api_key(self, environment: Mapping[str, str]) -> str | None:
        """The key, read from the environment when it is needed and kept nowhere."""
        return environment.get(self.api_key_env) if self.api_key_env else None
