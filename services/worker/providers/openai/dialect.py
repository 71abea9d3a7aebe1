"""The OpenAI chat-completions dialect; also spoken by llama.cpp, vLLM, Ollama, OpenRouter and many more."""

from collections.abc import Mapping
from typing import Final

from services.worker.providers.calls import asked, credentials_of, posted
from services.worker.providers.conversation.addresses import check_content
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
        check_options(request, settings)
        check_content(request.messages, settings)
        body = request_body(request, include_usage=settings.include_usage, settings=settings)
        return posted(self.path, settings, body, credentials=credentials_of(key, settings))

    def probe(self, settings: ProviderSettings, *, key: str | None) -> Call:
        return asked("/models", settings, credentials=credentials_of(key, settings))

    def passes(self, status: int) -> bool:
        return status in {200, 404, 405}

    def reader(self, media_type: str) -> ChunkReader:
        # Many do not say what they send, or something else; what it is, it shows.
        return ChunkReader(is_declared=media_type == _EVENT_STREAM)

    def error_of_response(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return error_of_status(status, headers, body)


OPENAI: Final[Dialect] = _OpenAI()
