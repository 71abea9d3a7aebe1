"""The list of a provider's models, asked by the very path that completions go to, so that a wrong one is found."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from http import HTTPStatus
from typing import Any, Final

import aiohttp
import orjson

from services.worker.providers.dialect import Dialect
from shared.settings.providers import ProviderSettings

__all__ = ("ModelList", "Reply", "ask_for_models")

_MAX_BODY_BYTES: Final = 4 * 1024 * 1024
_CHUNK_BYTES: Final = 64 * 1024
_UNAUTHORIZED: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_NOT_HERE: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED})


class Reply(Enum):
    """The way a provider answered the question."""

    LISTED = auto()
    LISTS_NOTHING = auto()
    REFUSED_KEY = auto()
    ELSEWHERE = auto()
    NOTHING_THERE = auto()
    NO_ANSWER = auto()
    TROUBLED = auto()


@dataclass(frozen=True, slots=True)
class ModelList:
    """The reply; `names` if it listed any, `detail` if there is more to say: a status, an address, an error's name."""

    reply: Reply
    names: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, slots=True)
class _Answer:
    """A status and, of a 200, the JSON in the body; None where it is no JSON, as of a web page."""

    status: int
    content: Any = None

    @property
    def is_list(self) -> bool:
        return self.status == HTTPStatus.OK and isinstance(self.content, dict | list)


async def ask_for_models(
    settings: ProviderSettings, dialect: Dialect, session: aiohttp.ClientSession, environment: Mapping[str, str]
) -> ModelList:
    """Ask within the connect timeout. Nothing that could be billed is sent, and no redirect gets the key."""
    asking = _Asking(settings, dialect, session, environment)
    try:
        answer = await asking.get(settings.base_url)
        if answer.is_list:
            return ModelList(Reply.LISTED, _names(answer.content))
        if answer.status in _UNAUTHORIZED:
            return ModelList(Reply.REFUSED_KEY, detail=f"status {answer.status}")
        if answer.status == HTTPStatus.OK or answer.status in _NOT_HERE or answer.status in range(300, 400):
            return await _look_around(asking, settings.base_url, answer.status)
        if dialect.passes(answer.status):
            return ModelList(Reply.LISTS_NOTHING)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        return ModelList(Reply.NO_ANSWER, detail=_name_of(error))
    return ModelList(Reply.TROUBLED, detail=f"status {answer.status}")


async def _look_around(asking: "_Asking", base_url: str, status: int) -> ModelList:
    """No list here: is the API one level deeper, or has it just no list?"""
    deeper = f"{base_url}/v1"
    below = await asking.get(deeper)
    if below.is_list or below.status in _UNAUTHORIZED:
        return ModelList(Reply.ELSEWHERE, detail=deeper)
    # An empty object asks for nothing, so it costs nothing; an API refuses it, a wrong path does not know it.
    completions = await asking.post_nothing(base_url)
    if completions.status in _UNAUTHORIZED:
        return ModelList(Reply.REFUSED_KEY, detail=f"status {completions.status}")
    if completions.status in range(400, 500) and completions.status not in _NOT_HERE:
        return ModelList(Reply.LISTS_NOTHING)
    asked = f"status {status} for {asking.path}, {completions.status} for completions"
    return ModelList(Reply.NOTHING_THERE, detail=asked)


class _Asking:
    """Requests to one provider in its dialect, with its key."""

    def __init__(
        self,
        settings: ProviderSettings,
        dialect: Dialect,
        session: aiohttp.ClientSession,
        environment: Mapping[str, str],
    ) -> None:
        self._session = session
        self._timeout = aiohttp.ClientTimeout(total=settings.connect_timeout_s)
        self._probe = dialect.probe(settings, key=(settings.api_key(environment) or "").strip() or None)
        self._completions = dialect.path
        self._headers = {"Accept": "application/json", **self._probe.headers}

    @property
    def path(self) -> str:
        return self._probe.path

    async def get(self, base_url: str) -> _Answer:
        return await self._ask(self._probe.method, base_url + self._probe.path, None)

    async def post_nothing(self, base_url: str) -> _Answer:
        _, mark, query = self._probe.path.partition("?")
        return await self._ask("POST", base_url + self._completions + mark + query, {})

    async def _ask(self, method: str, url: str, body: object) -> _Answer:
        async with self._session.request(
            method, url, headers=self._headers, json=body, timeout=self._timeout, allow_redirects=False
        ) as response:
            if response.status != HTTPStatus.OK:
                return _Answer(response.status)
            return _Answer(response.status, _json(await _body(response)))


async def _body(response: aiohttp.ClientResponse) -> bytes:
    body = b""
    async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
        body += chunk
        if len(body) > _MAX_BODY_BYTES:
            return b""  # no list of models is that long
    return body


def _json(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _names(content: Any) -> tuple[str, ...]:
    """The names in `{"data": [{"id"}]}`, in `{"models": [{"name"}]}` or in a bare list of either."""
    entries = content if isinstance(content, list) else content.get("data") or content.get("models") or []
    found = [_name(entry) for entry in entries] if isinstance(entries, list) else []
    return tuple(dict.fromkeys(filter(None, found)))


def _name(entry: Any) -> str:
    if isinstance(entry, str):
        return entry
    name = (entry.get("id") or entry.get("name")) if isinstance(entry, dict) else None
    # Gemini lists `models/x` and is asked for `x`.
    return name.removeprefix("models/") if isinstance(name, str) else ""


def _name_of(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "the name is unknown"
    if isinstance(error, aiohttp.ClientConnectorError):
        return os.strerror(error.errno) if error.errno else "cannot connect"
    return type(error).__name__
