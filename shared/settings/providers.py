"""The settings of one provider."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

__all__ = ("RESERVED_MEMBERS", "ProviderSettings")

# What a worker itself says in each request.
RESERVED_MEMBERS = frozenset({"messages", "model", "n", "stream"})

_NAME: Final = r"^[a-z0-9][a-z0-9_-]{0,63}$"
OptionName = Annotated[str, Field(min_length=1, max_length=64)]
SchemeName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9+.-]{0,15}$")]
_HEADER: Final = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
HeaderName = Annotated[str, Field(pattern=_HEADER)]
HeaderValue = Annotated[str, Field(pattern=r"^[ -~]{0,4096}$")]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]


def _plain_url(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("must begin with http:// or https://")
    return url.rstrip("/")


class ProviderSettings(BaseModel):
    """A completion API that workers may pull from. Only operators name one; a request never carries a URL."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=_NAME, description="Its name in logs, in metrics and for readers.")
    dialect: str = Field(
        "openai",
        pattern=_NAME,
        description="Its API: `openai` (chat completions, also of most others), `anthropic` (Messages), `gemini`, "
        "`ollama` (its own) or `responses` (OpenAI Responses).",
    )
    base_url: Annotated[str, AfterValidator(_plain_url)] = Field(description="Its address, up to and including `/v1`.")
    api_key_env: str | None = Field(None, description="Environment variable with its key; only workers read it.")
    api_key_header: str | None = Field(
        None,
        pattern=_HEADER,
        description="Header for the key, if it is not the one of the dialect: `api-key` for Azure.",
    )
    models: list[str] = Field(min_length=1, description="Models it serves; `*` and `?` are wildcards, as in `gpt-*`.")
    continuation: Literal["prefill", "prefix", "partial", "continue_final_message", "message", "none"] = Field(
        "none",
        description="How an interrupted answer can be continued: by an assistant turn, unmarked (`prefill`: Claude up "
        "to 4.5, llama.cpp, Ollama) or marked (`prefix`: Mistral, DeepSeek; `partial`: Kimi, Qwen; "
        "`continue_final_message`: vLLM, SGLang), by a closing user turn (`message`: any other), or not.",
    )
    continuation_text: str | None = Field(
        None,
        min_length=1,
        max_length=1000,
        description="Text of the closing user turn; `{last_words}` stands for the end of the answer so far. "
        "Default: the last words between ellipses, which fits any language.",
    )
    allow_options: Literal["*"] | list[OptionName] = Field(
        default_factory=list,
        description="Options of a request that are passed on even if Tailrace does not know them; `*` for all.",
    )
    extra_body: dict[str, Any] = Field(
        default_factory=dict,
        repr=False,
        description="Members to add to each request; they replace the caller's.",
    )
    extra_headers: dict[HeaderName, HeaderValue] = Field(
        default_factory=dict, repr=False, description="Headers to add to each request; they replace the dialect's."
    )
    extra_query: dict[str, str] = Field(
        default_factory=dict, description="Members of the query to add to each request, such as `api-version`."
    )
    allow_parts: Literal["*"] | list[OptionName] = Field(
        default_factory=list,
        description="Types of content parts that are passed on even if Tailrace does not know them; `*` for all. Only "
        "the dialect `openai` can.",
    )
    allow_schemes: list[SchemeName] = Field(
        default_factory=lambda: ["data", "https"],
        description="Schemes of addresses of images and files that may be sent to it. It fetches them: `http` reaches "
        "what its network can reach. Addresses in private networks are always refused.",
    )
    connect_timeout_s: Seconds = Field(5, description="Longest time to connect.")
    first_token_timeout_s: Seconds = Field(60, description="Longest silence before the first token.")
    next_token_timeout_s: Seconds = Field(30, description="Longest silence between two tokens.")
    total_timeout_s: Seconds = Field(600, description="Longest answer.")
    include_usage: bool = Field(True, description="Ask for a usage chunk (stream_options.include_usage).")

    @field_validator("extra_body")
    @classmethod
    def _ours_stay_ours(cls, fields: dict[str, Any]) -> dict[str, Any]:
        if taken := sorted(RESERVED_MEMBERS & fields.keys()):
            raise ValueError(f"cannot set {', '.join(taken)}: a worker does")
        return fields

    def allows(self, option: str) -> bool:
        """Return whether an option that Tailrace does not know may be passed on."""
        return option in self.allow_options or self.allow_options == "*" or "*" in self.allow_options

    def allows_part(self, kind: str) -> bool:
        """Return whether a content part of a type that Tailrace does not know may be passed on."""
        return self.allow_parts == "*" or kind in self.allow_parts or "*" in self.allow_parts

    def serves(self, model: str) -> bool:
        """Return whether a pattern of `models` (as in `gpt-*`) names this model."""
        return any(fnmatchcase(model, pattern) for pattern in self.models)

    def api_key(self, environment: Mapping[str, str]) -> str | None:
        """The key, read from the environment when it is needed and kept nowhere."""
        return environment.get(self.api_key_env) if self.api_key_env else None
