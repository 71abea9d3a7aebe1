"""OpenAI's Responses API as an upstream; also xAI, OpenRouter and Bedrock's compatible routes."""

from collections.abc import Mapping
from typing import Final

from services.worker.providers.calls import asked, credentials_of, posted
from services.worker.providers.dialect import Call, Dialect
from services.worker.providers.frames.json_reader import JsonReader, server_sent
from services.worker.providers.provider import CompletionRequest
from services.worker.providers.refusal import refusal
from services.worker.providers.responses.items import ResponseAnswer
from services.worker.providers.responses.request import OPTIONS, request_body
from shared.errors import ProviderError
from shared.settings.providers import ProviderSettings

__all__ = ("RESPONSES",)


class _Responses:
    """See `Dialect`. A last assistant turn is history here: an answer cannot be prefilled."""

    name = "responses"
    path = "/responses"
    options = OPTIONS
    continuations = frozenset({"message", "none"})

    def completion(self, request: CompletionRequest, settings: ProviderSettings, *, key: str | None) -> Call:
        body = request_body(request, settings)
        return posted(self.path, settings, body, credentials=credentials_of(key, settings))

    def probe(self, settings: ProviderSettings, *, key: str | None) -> Call:
        return asked("/models", settings, credentials=credentials_of(key, settings))

    def passes(self, status: int) -> bool:
        return status in {200, 404, 405}

    def reader(self, media_type: str) -> JsonReader:
        return server_sent(ResponseAnswer())

    def error_of_response(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return refusal(status, headers, body)


RESPONSES: Final[Dialect] = _Responses()
