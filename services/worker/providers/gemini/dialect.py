"""Gemini's `streamGenerateContent`; also Vertex, with a base URL up to `publishers/google` and a token for a key."""

from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from services.worker.providers.calls import asked, credentials_of, posted
from services.worker.providers.dialect import Call, Dialect
from services.worker.providers.frames.json_reader import JsonReader, server_sent
from services.worker.providers.gemini.candidates import CandidateAnswer
from services.worker.providers.gemini.request import OPTIONS, request_body
from services.worker.providers.provider import CompletionRequest
from services.worker.providers.refusal import refusal
from shared.errors import ProviderError
from shared.settings.providers import ProviderSettings

__all__ = ("GEMINI",)


class _Gemini:
    """See `Dialect`. The end of an answer is the end of its bytes: more may follow a finish reason."""

    name = "gemini"
    path = "/models"
    options = OPTIONS
    continuations = frozenset({"prefill", "message", "none"})

    def completion(self, request: CompletionRequest, settings: ProviderSettings, *, key: str | None) -> Call:
        # The model is the caller's word, and goes into the path.
        model = quote(request.model.removeprefix("models/"), safe="")
        path = f"{self.path}/{model}:streamGenerateContent?alt=sse"
        return posted(path, settings, request_body(request, settings), credentials=_credentials(key, settings))

    def probe(self, settings: ProviderSettings, *, key: str | None) -> Call:
        return asked(f"{self.path}?pageSize=1000", settings, credentials=_credentials(key, settings))

    def passes(self, status: int) -> bool:
        # Vertex and gateways have no list.
        return status in {200, 404, 405}

    def reader(self, media_type: str) -> JsonReader:
        return server_sent(CandidateAnswer())

    def error_of_response(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return refusal(status, headers, body)


GEMINI: Final[Dialect] = _Gemini()


def _credentials(key: str | None, settings: ProviderSettings) -> dict[str, str]:
    return credentials_of(key, settings, header="x-goog-api-key", prefix="")
