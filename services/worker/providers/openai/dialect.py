"""The OpenAI chat-completions dialect; also spoken by llama.cpp, vLLM, Ollama, OpenRouter and many more."""

from collections.abc import Mapping
from typing import Final

from services.worker.providers.dialect import Call, Dialect
from services.worker.providers.openai.chunks import ChunkReader
from services.worker.providers.openai.errors import error_of_status
from services.worker.providers.openai.request import OPTIONS, check_options, request_body
from services.worker.providers.provider import CompletionRequest
from shared.errors import ProviderError
from shared.settings.providers import ProviderSettings

__all__ = ("OPENAI",)

_EVENT_STREAM: Final = "text/event-stream"


class _OpenAI:
    """See `Dialect`. A provider without a list of models is as good as one with it."""

    name = "openai"
    path = "/chat/completions"
    options = OPTIONS
    continuations = frozenset({"prefill", "prefix", "partial", "continue_final_message", "message", "none"})

    def completion(self, request: CompletionRequest, settings: ProviderSettings, *, key: str | None) -> Call:
        headers = {"Accept": _EVENT_STREAM, "Content-Type": "application/json", **_credentials(key)}
        check_options(request, settings)
        body = request_body(request, include_usage=settings.include_usage, settings=settings)
        return Call("POST", self.path, headers, body)

    def probe(self, settings: ProviderSettings, *, key: str | None) -> Call:
        return Call("GET", "/models", _credentials(key))

    def passes(self, status: int) -> bool:
        return status in {200, 404, 405}

    def reader(self, media_type: str) -> ChunkReader:
        # Many do not say what they send, or something else; what it is, it shows.
        return ChunkReader(is_declared=media_type == _EVENT_STREAM)

    def error_of_response(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return error_of_status(status, headers, body)


OPENAI: Final[Dialect] = _OpenAI()


def _credentials(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}
