"""The OpenAI chat-completions dialect over HTTP; also spoken by llama.cpp, vLLM, Ollama, OpenRouter and many more."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from math import inf
from typing import Any, Final

import aiohttp
import orjson

from services.worker.providers.http.body import ResponseBody
from services.worker.providers.http.session import HttpRequest, respond
from services.worker.providers.openai.chunks import ChunkReader
from services.worker.providers.openai.errors import error_of_status
from services.worker.providers.provider import CompletionRequest, Outcome
from shared.errors import ProviderAuth, ProviderError, ProviderStalled, ProviderTruncated
from shared.log.events import Event
from shared.settings.providers import ProviderSettings

__all__ = ("OPTIONS", "OpenAIProvider", "OpenAIStream", "request_body")

# What a caller may set. Everything else stays here: `n` would multiply the answer, `stream` is ours.
OPTIONS: Final = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "max_completion_tokens",
        "max_tokens",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_p",
        "verbosity",
    }
)

# How long after the finish reason the usage chunk and `[DONE]` may take. Then the answer is whole without them.
_TRAILER_S: Final = 5.0
# Statuses of an answer. The other successes have no body.
_ANSWERS: Final = frozenset(
    {HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED, HTTPStatus.NON_AUTHORITATIVE_INFORMATION}
)

_TOO_LONG: Final = "The model provider took longer than a whole answer may take."
_NO_KEY: Final = "The key of the model provider is not configured."


class OpenAIProvider:
    """One configured provider. The key is looked up in `environment` for each request and kept nowhere."""

    def __init__(
        self, settings: ProviderSettings, session: aiohttp.ClientSession, *, environment: Mapping[str, str]
    ) -> None:
        self._settings = settings
        self._session = session
        self._environment = environment

    def __repr__(self) -> str:
        return f"<OpenAIProvider {self.name}>"

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def settings(self) -> ProviderSettings:
        return self._settings

    def stream(self, request: CompletionRequest) -> "OpenAIStream":
        return OpenAIStream(self, request)

    async def respond(self, request: CompletionRequest, *, limit: asyncio.Timeout) -> aiohttp.ClientResponse:
        """Ask for a completion; the response is the caller's to close."""
        body = request_body(request, include_usage=self._settings.include_usage)
        headers = {"Accept": "text/event-stream", "Content-Type": "application/json"}
        return await self._send("POST", "/chat/completions", headers=headers, body=body, limit=limit)

    async def probe(self) -> None:
        """Ask for the list of models, within the connect timeout. A provider without that list passes."""
        limit = asyncio.timeout(self._settings.connect_timeout_s)
        response = await self._send("GET", "/models", headers={}, body=None, limit=limit)
        response.close()
        if response.status not in {200, 404, 405}:
            raise error_of_status(response.status, response.headers)

    async def _send(
        self, method: str, path: str, *, headers: dict[str, str], body: bytes | None, limit: asyncio.Timeout
    ) -> aiohttp.ClientResponse:
        url = self._settings.base_url + path
        headers |= _credentials(self._settings, self._environment)
        request = HttpRequest(method, url, self._settings.connect_timeout_s, headers, body)
        return await respond(self._session, request, limit=limit)


class OpenAIStream:
    """One answer. See `CompletionStream` for what is guaranteed.

    The first token is the first event, the next token the next event: comments, role chunks and a drip of
    single bytes are no sign of life.
    """

    def __init__(self, provider: OpenAIProvider, request: CompletionRequest) -> None:
        self._provider = provider
        self._request: CompletionRequest | None = request
        self._chunks = ChunkReader()
        self._opening: asyncio.Timeout | None = None
        self._body: ResponseBody | None = None
        self._outcome: Outcome | None = None
        self._failure: ProviderError | None = None
        self._has_begun = self._has_reason = self._has_gone_on = False
        self._first_s = self._last_s = self._trailer_s = inf

    def __repr__(self) -> str:
        state = "new" if self._body is None else "ended" if self._outcome else "open"
        return f"<OpenAIStream {self._provider.name} {state}>"

    @property
    def has_begun(self) -> bool:
        return self._has_begun

    @property
    def usage(self) -> dict[str, int] | None:
        return self._chunks.usage

    @property
    def outcome(self) -> Outcome | None:
        return self._outcome

    @property
    def unknown(self) -> Mapping[str, int]:
        return self._chunks.unknown

    async def open(self) -> None:
        """Send the request. Raises every `ProviderError`; the connection is closed then."""
        request, self._request = self._request, None
        if request is None:
            raise ProviderTruncated
        settings, now = self._provider.settings, asyncio.get_running_loop().time()
        self._first_s, self._last_s = now + settings.first_token_timeout_s, now + settings.total_timeout_s
        self._opening = asyncio.timeout_at(self._deadline())
        try:
            response = await self._provider.respond(request, limit=self._opening)
        finally:
            self._opening = None
        self._body = ResponseBody(response)
        try:
            await self._check(response, self._body)
        except BaseException:
            self._body.close()
            raise

    async def read(self) -> Sequence[Event] | None:
        if self._body is None:
            raise RuntimeError("a stream is read between open and aclose")
        try:
            if events := await self._next_events(self._body):
                return events
        except ProviderError as error:
            # What goes wrong after the finish reason takes nothing from the answer.
            if self._chunks.finish_reason is None:
                raise self._explained(error) from None
        if events := self._chunks.finish():
            self._has_begun = True
            return events
        self._outcome = self._chunks.outcome
        return None

    async def pour(self, take: Callable[[Sequence[Event]], bool]) -> None:
        body, chunks = self._body, self._chunks
        if body is None or not self._has_begun or not chunks.is_going_on:
            return
        now, last_s, next_s = (
            asyncio.get_running_loop().time,
            self._last_s,
            self._provider.settings.next_token_timeout_s,
        )

        def hand_over(data: bytes) -> bool:
            """The events of a piece of the body. The end of the answer, and what is wrong with it, `read` tells."""
            try:
                events = chunks.feed(data)
            except ProviderError as error:
                self._failure = error
                return False
            if not events:
                return chunks.is_going_on
            wants_more, deadline = take(events), now() + next_s
            body.extend(deadline if deadline < last_s else last_s)
            return wants_more and chunks.is_going_on

        await body.pour(hand_over, self._deadline())

    async def aclose(self) -> None:
        self._request = None
        if self._opening is not None and not self._opening.expired():
            self._opening.reschedule(0)
        if self._body is not None:
            self._body.close(reuse=self._chunks.ended)

    async def _check(self, response: aiohttp.ClientResponse, body: ResponseBody) -> None:
        if response.status not in _ANSWERS:
            raise error_of_status(response.status, response.headers)
        if response.content_type != "text/event-stream":
            # Many do not say what they send, or something else; what it is, it shows.
            self._chunks = ChunkReader(is_declared=False)

    async def _next_events(self, body: ResponseBody) -> Sequence[Event]:
        """The next events; none at the end."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        chunks, deadline = self._chunks, self._deadline()
        while not chunks.ended and (data := await body.read(deadline)):
            if events := chunks.feed(data):
                self._has_begun = True
                # Who goes on after a finish reason gives one with every chunk: it says nothing about the end.
                self._has_gone_on = self._has_gone_on or self._has_reason
                self._has_reason = chunks.finish_reason is not None
                return events
            if chunks.finish_reason is not None:
                self._has_reason = True
                deadline = min(deadline, self._trailer())
        return ()

    def _explained(self, error: ProviderError) -> ProviderError:
        is_late = isinstance(error, ProviderStalled) and asyncio.get_running_loop().time() >= self._last_s
        return ProviderStalled(_TOO_LONG) if is_late else error

    def _deadline(self) -> float:
        if not self._has_begun:
            return min(self._first_s, self._last_s)
        next_s = asyncio.get_running_loop().time() + self._provider.settings.next_token_timeout_s
        if self._chunks.finish_reason is not None and not self._has_gone_on:
            next_s = min(next_s, self._trailer())
        return min(next_s, self._last_s)

    def _trailer(self) -> float:
        """When the wait for usage and `[DONE]` ends. It begins once, so that endless chatter is cut off too."""
        if self._trailer_s == inf:
            self._trailer_s = asyncio.get_running_loop().time() + _TRAILER_S
        return self._trailer_s


def request_body(request: CompletionRequest, *, include_usage: bool) -> bytes:
    """The JSON to send: the caller's known options, and what makes it a stream."""
    fields: dict[str, Any] = {name: value for name, value in request.options.items() if name in OPTIONS}
    fields |= {"model": request.model, "messages": request.messages, "stream": True}
    if include_usage:
        fields["stream_options"] = {"include_usage": True}
    return orjson.dumps(fields)


def _credentials(settings: ProviderSettings, environment: Mapping[str, str]) -> dict[str, str]:
    if settings.api_key_env is None:
        return {}
    key = (settings.api_key(environment) or "").strip()
    # A key with a line end inside would make aiohttp raise an error that quotes it.
    if not key or not key.isascii() or not key.isprintable():
        raise ProviderAuth(_NO_KEY)
    return {"Authorization": f"Bearer {key}"}
