"""Completions over HTTP: deadlines, opening, reading, pouring and closing, the same for every dialect."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from math import inf
from typing import Final

import aiohttp

from services.worker.providers.dialect import Call, Dialect, FrameReader
from services.worker.providers.http.body import ResponseBody
from services.worker.providers.http.session import HttpRequest, respond
from services.worker.providers.provider import CompletionRequest, Outcome
from services.worker.providers.refusal import located, read_refusal
from shared.errors import ProviderAuth, ProviderError, ProviderStalled, ProviderTruncated
from shared.log.events import Event
from shared.settings.providers import ProviderSettings

__all__ = ("Completion", "ConfiguredProvider")

# How long what follows the end of the content (usage, `[DONE]`) may take. Then the answer is whole without it.
_TRAILER_S: Final = 5.0
# Statuses of an answer. The other successes have no body.
_ANSWERS: Final = frozenset(
    {HTTPStatus.OK, HTTPStatus.CREATED, HTTPStatus.ACCEPTED, HTTPStatus.NON_AUTHORITATIVE_INFORMATION}
)
# How long a probe waits for what a refusal has to say.
_REFUSAL_S: Final = 1.0

_TOO_LONG: Final = "The model provider took longer than a whole answer may take."
_NO_KEY: Final = "The key of the model provider is not configured."


class ConfiguredProvider:
    """One entry of the settings. The key is looked up in `environment` for each request and kept nowhere."""

    def __init__(
        self,
        settings: ProviderSettings,
        dialect: Dialect,
        session: aiohttp.ClientSession,
        *,
        environment: Mapping[str, str],
    ) -> None:
        self._settings = settings
        self._dialect = dialect
        self._session = session
        self._environment = environment

    def __repr__(self) -> str:
        return f"<ConfiguredProvider {self.name} {self._dialect.name}>"

    @property
    def name(self) -> str:
        return self._settings.name

    @property
    def settings(self) -> ProviderSettings:
        return self._settings

    @property
    def dialect(self) -> Dialect:
        return self._dialect

    def stream(self, request: CompletionRequest) -> "Completion":
        return Completion(self, request)

    async def respond(self, request: CompletionRequest, *, limit: asyncio.Timeout) -> aiohttp.ClientResponse:
        """Ask for a completion; the response is the caller's to close."""
        return await self._send(self._dialect.completion(request, self._settings, key=self._key()), limit)

    async def probe(self) -> None:
        """Ask for what costs nothing, within the connect timeout."""
        limit = asyncio.timeout(self._settings.connect_timeout_s)
        response = await self._send(self._dialect.probe(self._settings, key=self._key()), limit)
        body = ResponseBody(response)
        try:
            if not self._dialect.passes(response.status):
                raise await self.refused(response, body, asyncio.get_running_loop().time() + _REFUSAL_S)
        finally:
            body.close()

    async def refused(self, response: aiohttp.ClientResponse, body: ResponseBody, deadline: float) -> ProviderError:
        """The error that a response is, with what its body says of it."""
        said = await read_refusal(body.read, deadline)
        return self.located(self._dialect.error_of_response(response.status, response.headers, said), response)

    def located(self, error: ProviderError, response: aiohttp.ClientResponse | None = None) -> ProviderError:
        """The same error, knowing which call it answers, and without our key in the provider's words."""
        path = self._path() + self._dialect.path
        secret = (self._settings.api_key(self._environment) or "").strip()
        if response is None:
            return located(error, path=path)
        return located(error, path=path, status=response.status, headers=response.headers, secret=secret)

    def _path(self) -> str:
        """The path of the base URL, for logs: neither host nor query."""
        _, _, after_scheme = self._settings.base_url.partition("://")
        _, slash, folder = after_scheme.partition("/")
        return slash + folder.partition("?")[0]

    async def _send(self, call: Call, limit: asyncio.Timeout) -> aiohttp.ClientResponse:
        url = self._settings.base_url + call.path
        request = HttpRequest(call.method, url, self._settings.connect_timeout_s, call.headers, call.body)
        return await respond(self._session, request, limit=limit)

    def _key(self) -> str | None:
        if self._settings.api_key_env is None:
            return None
        key = (self._settings.api_key(self._environment) or "").strip()
        # A key with a line end inside would make aiohttp raise an error that quotes it.
        if not key or not key.isascii() or not key.isprintable():
            raise ProviderAuth(_NO_KEY)
        return key


class Completion:
    """One answer. See `CompletionStream` for what is guaranteed.

    The first token is the first event, the next token the next event: comments, role chunks and a drip of
    single bytes are no sign of life.
    """

    def __init__(self, provider: ConfiguredProvider, request: CompletionRequest) -> None:
        self._provider = provider
        self._request: CompletionRequest | None = request
        self._frames: FrameReader | None = None
        self._opening: asyncio.Timeout | None = None
        self._response: aiohttp.ClientResponse | None = None
        self._body: ResponseBody | None = None
        self._outcome: Outcome | None = None
        self._failure: ProviderError | None = None
        self._has_begun = self._has_gone_on = False
        self._first_s = self._last_s = self._trailer_s = inf

    def __repr__(self) -> str:
        state = "new" if self._body is None else "ended" if self._outcome else "open"
        return f"<Completion {self._provider.name} {state}>"

    @property
    def has_begun(self) -> bool:
        return self._has_begun

    @property
    def usage(self) -> dict[str, int] | None:
        return self._frames.usage if self._frames is not None else None

    @property
    def outcome(self) -> Outcome | None:
        return self._outcome

    @property
    def unknown(self) -> Mapping[str, int]:
        return self._frames.unknown if self._frames is not None else {}

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
        except ProviderError as error:
            raise self._provider.located(error) from None
        finally:
            self._opening = None
        self._response = response
        self._body = ResponseBody(response)
        if response.status not in _ANSWERS:
            try:
                raise await self._provider.refused(response, self._body, self._deadline())
            finally:
                self._body.close()
        self._frames = self._provider.dialect.reader(response.content_type)

    async def read(self) -> Sequence[Event] | None:
        body, frames = self._body, self._frames
        if body is None or frames is None:
            raise RuntimeError("a stream is read between open and aclose")
        try:
            if events := await self._next_events(body, frames):
                return events
        except ProviderError as error:
            # What goes wrong after the end of the content takes nothing from the answer.
            if not frames.is_whole:
                raise self._provider.located(self._explained(error), self._response) from None
        try:
            events = frames.finish()
        except ProviderError as error:
            raise self._provider.located(error, self._response) from None
        if events:
            self._has_begun = True
            return events
        self._outcome = frames.outcome
        return None

    async def pour(self, take: Callable[[Sequence[Event]], bool]) -> None:
        body, frames = self._body, self._frames
        if body is None or frames is None or not self._has_begun or not frames.is_going_on:
            return
        now, last_s, next_s = (
            asyncio.get_running_loop().time,
            self._last_s,
            self._provider.settings.next_token_timeout_s,
        )
        feed = frames.feed

        def hand_over(data: bytes) -> bool:
            """The events of a piece of the body. The end of the answer, and what is wrong with it, `read` tells."""
            try:
                events = feed(data)
            except ProviderError as error:
                self._failure = error
                return False
            if not events:
                return frames.is_going_on
            wants_more, deadline = take(events), now() + next_s
            body.extend(deadline if deadline < last_s else last_s)
            return wants_more and frames.is_going_on

        await body.pour(hand_over, self._deadline())

    async def aclose(self) -> None:
        self._request = None
        if self._opening is not None and not self._opening.expired():
            self._opening.reschedule(0)
        if self._body is not None:
            self._body.close(reuse=self._frames is not None and self._frames.ended)

    async def _next_events(self, body: ResponseBody, frames: FrameReader) -> Sequence[Event]:
        """The next events; none at the end."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure
        was_whole, deadline = frames.is_whole, self._deadline()
        while not frames.ended and (data := await body.read(deadline)):
            if events := frames.feed(data):
                self._has_begun = True
                # Who goes on after the end of the content says so with every chunk: it is none.
                self._has_gone_on = self._has_gone_on or was_whole
                return events
            if frames.is_whole:
                was_whole, deadline = True, min(deadline, self._trailer())
        return ()

    def _explained(self, error: ProviderError) -> ProviderError:
        is_late = isinstance(error, ProviderStalled) and asyncio.get_running_loop().time() >= self._last_s
        return ProviderStalled(_TOO_LONG) if is_late else error

    def _deadline(self) -> float:
        if not self._has_begun:
            return min(self._first_s, self._last_s)
        next_s = asyncio.get_running_loop().time() + self._provider.settings.next_token_timeout_s
        if self._frames is not None and self._frames.is_whole and not self._has_gone_on:
            next_s = min(next_s, self._trailer())
        return min(next_s, self._last_s)

    def _trailer(self) -> float:
        """Return the end of the wait for usage and `[DONE]`. It begins once, so that endless chatter is cut off too."""
        if self._trailer_s == inf:
            self._trailer_s = asyncio.get_running_loop().time() + _TRAILER_S
        return self._trailer_s
