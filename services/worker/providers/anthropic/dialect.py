"""Anthropic's Messages API; also Bedrock's compatible routes and gateways that hand Claude on as it is."""

from collections.abc import Mapping
from typing import Final

from services.worker.providers.anthropic.messages import MessageAnswer
from services.worker.providers.anthropic.request import OPTIONS, request_body
from services.worker.providers.calls import asked, credentials_of, posted
from services.worker.providers.dialect import Call, Dialect
from services.worker.providers.frames.json_reader import JsonReader, server_sent
from services.worker.providers.provider import CompletionRequest
from services.worker.providers.refusal import refusal
from shared.errors import ProviderError
from shared.settings.providers import ProviderSettings

__all__ = ("ANTHROPIC",)

_VERSION: Final = "2023-06-01"


class _Anthropic:
    """See `Dialect`."""

    name = "anthropic"
    path = "/messages"
    options = OPTIONS
    continuations = frozenset({"prefill", "message", "none"})

    def completion(self, request: CompletionRequest, settings: ProviderSettings, *, key: str | None) -> Call:
        return posted(self.path, settings, request_body(request, settings), credentials=_headers(key, settings))

    def probe(self, settings: ProviderSettings, *, key: str | None) -> Call:
        return asked("/models?limit=1000", settings, credentials=_headers(key, settings))

    def passes(self, status: int) -> bool:
        # Gateways have no list.
        return status in {200, 404, 405}

    def reader(self, media_type: str) -> JsonReader:
        return server_sent(MessageAnswer())

    def error_of_response(self, status: int, headers: Mapping[str, str], body: bytes) -> ProviderError:
        return refusal(status, headers, body)


ANTHROPIC: Final[Dialect] = _Anthropic()


def _headers(key: str | None, settings: ProviderSettings) -> dict[str, str]:
    return {"anthropic-version": _VERSION, **credentials_of(key, settings, header="x-api-key", prefix="")}
