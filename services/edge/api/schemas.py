"""Bodies of the HTTP contract, for validation and for the OpenAPI page."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

__all__ = (
    "Cancel",
    "CancelAnswer",
    "CreateStream",
    "Created",
    "ErrorBody",
    "Message",
    "ProviderList",
    "ProviderState",
    "StreamList",
    "StreamState",
    "body_schema",
)

MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=4096)]


class Message(BaseModel):
    """One turn of the conversation, as the OpenAI chat API shapes it. Unknown fields go to the provider as they are."""

    model_config = ConfigDict(extra="allow")

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[dict[str, Any]] | None = None


class CreateStream(BaseModel):
    """A question to a model: every option of the OpenAI chat API, and what a provider's entry allows beside them.

    All but `metadata` and `on_interruption` are the provider's; `stream` and `stream_options` are taken and left alone.
    """

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "examples": [{"model": "smollm2", "messages": [{"role": "user", "content": "What is a tailrace?"}]}]
        },
    )

    model: str = Field(min_length=1, max_length=256)
    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(None, ge=1, le=10_000_000)
    max_completion_tokens: int | None = Field(None, ge=1, le=10_000_000)
    temperature: float | None = Field(None, ge=0, le=2)
    top_p: float | None = Field(None, ge=0, le=1)
    presence_penalty: float | None = Field(None, ge=-2, le=2)
    frequency_penalty: float | None = Field(None, ge=-2, le=2)
    stop: str | list[str] | None = None
    top_k: int | None = Field(None, ge=-1, lt=2**31)
    logit_bias: dict[str, float] | None = None
    n: Literal[1] | None = Field(None, description="A stream holds one answer.")
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = Field(None, max_length=64)
    verbosity: str | None = Field(None, max_length=64)
    prediction: dict[str, Any] | None = None
    prompt_cache_key: str | None = Field(None, max_length=1024)
    prompt_cache_retention: str | None = Field(None, max_length=64)
    safety_identifier: str | None = Field(None, max_length=1024)
    service_tier: str | None = Field(None, max_length=64)
    store: bool | None = None
    stream: bool | None = Field(None, description="Every answer is a stream, whatever this says.")
    stream_options: dict[str, Any] | None = Field(None, description="The provider's entry decides instead.")
    user: str | None = Field(None, max_length=1024)
    web_search_options: dict[str, Any] | None = None
    metadata: dict[MetadataKey, MetadataValue] = Field(default_factory=dict, max_length=16)
    on_interruption: Literal["continue", "restart", "fail"] | None = Field(
        None,
        description="When a worker or provider dies half-way. Default: continue if the provider can, else restart.",
    )


class Created(BaseModel):
    id: str = Field(examples=["0b5c1d0f3a7e4c1c9d2f8a6b4e0d7c35"])
    status: str = Field(examples=["queued"])
    events_url: str


class Cancel(BaseModel):
    model_config = ConfigDict(extra="forbid")

    attempt: int | None = Field(None, ge=0, lt=2**53, description="Only stop this attempt; a later one is left alone.")


class CancelAnswer(BaseModel):
    id: str
    status: str
    ignored: bool = False


class StreamState(BaseModel):
    """A stream at this moment. Times are ms since 1970 on Redis' clock, null while they have not come."""

    id: str
    status: Literal["queued", "running", "done", "error", "cancelled"]
    model: str
    provider: str | None
    attempt: int
    position: str | None = Field(examples=["1-345.9f2c01ab"])
    content: list[dict[str, Any]] | None = Field(None, description="Parts so far; left out of listings.")
    trimmed_units: int = Field(0, description="Bytes of text that the beginning of the content lacks, lost to a limit.")
    usage: dict[str, Any] | None
    finish_reason: str | None
    error: dict[str, Any] | None
    created_ms: int
    started_ms: int | None
    first_ms: int | None
    finished_ms: int | None
    expires_ms: int | None
    metadata: dict[str, Any]


class StreamList(BaseModel):
    streams: list[StreamState]
    next: str | None = Field(description="Pass as `cursor` for the next page.")


class ProviderState(BaseModel):
    name: str
    dialect: str
    models: list[str] = Field(description="What it serves; may be patterns such as `gpt-*`.")
    offers: list[str] = Field(description="Names of models that it is the first to serve, as far as they are known.")


class ProviderList(BaseModel):
    providers: list[ProviderState]


class _Error(BaseModel):
    code: str = Field(examples=["unknown_stream"])
    message: str = Field(examples=["There is no such stream."])
    retryable: bool = False


class ErrorBody(BaseModel):
    """The shape of every refusal."""

    error: _Error


def body_schema(model: type[BaseModel]) -> dict[str, Any]:
    """A model's JSON schema without references: bodies that we read ourselves are not among FastAPI's components."""
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    return {name: _resolved(value, definitions) for name, value in schema.items()}


def _resolved(node: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(node, list):
        return [_resolved(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _resolved(definitions[node["$ref"].rpartition("/")[2]], definitions)
    return {name: _resolved(value, definitions) for name, value in node.items()}
