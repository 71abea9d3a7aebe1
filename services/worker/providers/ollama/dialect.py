"""Ollama's own `/api/chat`. Its base URL ends with the port."""

from collections.abc import Mapping
from typing import Final

from services.worker.providers.calls import asked, credentials_of, posted
from services.worker.providers.dialect import Call, Dialect
from services.worker.providers.frames.json_reader import JsonReader, lines_of
from services.worker.providers.ollama.chat import ChatAnswer
from services.worker.providers.ollama.request import OPTIONS, request_body
from services.worker.providers.provider import CompletionRequest
from services.worker.providers.refusal import refusal
from shared.errors import ProviderError
from shared.settings.providers import ProviderSettings

__all__ = ("OLLAMA",)

_LINES: Final = "application/x-ndjson"


class _Ollama:
    """See `Dialect`."""

    name = "ollama"
    path = "/api/chat"
    options = OPTIONS
    continuations = frozenset({"prefill", "message", "none"})

    def completion(self, request: CompletionRequest, settings: ProviderSettings, *, key: str | None) -> Call:
        credentials = credentials_of(key, settings)
        return posted(self.path, settings, request_body(request, settings), accept=_LINES, credentials=credentials)

    def probe(self, settings: ProviderSettings, *, key: str | None) -> Call:
        return asked("/api/tags", settings, credentials=credentials_of(key, settings))

    def passes(self, status: int) -> bool:
        return status == 200

    def reader(self, media_type: str) -> JsonReader:
        return lines_of(ChatAnswer())

    def error_of_response(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return refusal(status, headers, body)


OLLAMA: Final[Dialect] = _Ollama()
