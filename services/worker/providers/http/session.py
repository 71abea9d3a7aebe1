"""The HTTP session of all providers, and one request on it."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Final

import aiohttp

from services.worker.providers.http.body import _BEFORE_RESPONSE, _foreign, _translated

__all__ = ("HttpRequest", "new_session", "respond")


# Half of this is what a stream may hold unread before its provider is made to wait.
_READ_BUFFER_BYTES: Final = 64 * 1024


# Common servers drop an idle connection after 5 s.
_KEEP_ALIVE_S: Final = 4.0


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """One call to a provider. Its deadline for a connection includes name look-up and TLS."""

    method: str
    url: str = field(repr=False)
    connect_timeout_s: float
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    body: bytes | None = field(default=None, repr=False)


def new_session() -> aiohttp.ClientSession:
    """The session that all providers of a process share; closed by whoever composes the process.

    No limit on connections (`max_jobs` is the limit), no cookies (they would tie tenants together), no compression
    (a compressor between us and a token only adds delay), no timeouts (each request has its own).
    """
    tracing = aiohttp.TraceConfig()
    tracing.on_connection_reuseconn.append(_note_reuse)
    return aiohttp.ClientSession(
        trace_configs=[tracing],
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity", "User-Agent": "tailrace"},
        timeout=aiohttp.ClientTimeout(),
        read_bufsize=_READ_BUFFER_BYTES,
    )


async def respond(
    session: aiohttp.ClientSession, request: HttpRequest, *, limit: asyncio.Timeout
) -> aiohttp.ClientResponse:
    """Send, and return the response as soon as its headers are there. The caller may expire `limit` to break it off.

    Redirects are not followed: the operator's key goes to the operator's address only.
    """
    try:
        async with limit:
            return await _answered(session, request)
    except _foreign(_BEFORE_RESPONSE) as error:
        raise _translated(error, _BEFORE_RESPONSE) from None


@dataclass(slots=True)
class _Attempt:
    is_reused: bool = False


async def _answered(session: aiohttp.ClientSession, request: HttpRequest) -> aiohttp.ClientResponse:
    """Try again as long as a kept connection turns out to be dead (llama.cpp closes after each answer).

    Each turn uses up one of those; only the failure of a new connection says anything about the provider.
    """
    while True:
        attempt = _Attempt()
        try:
            return await session.request(
                request.method,
                request.url,
                headers=request.headers,
                data=request.body,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(connect=request.connect_timeout_s),
                trace_request_ctx=attempt,
            )
        except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError):
            if not attempt.is_reused:
                raise


async def _note_reuse(
    _session: aiohttp.ClientSession, context: SimpleNamespace, _params: aiohttp.TraceConnectionReuseconnParams
) -> None:
    # The session may be used for other requests too.
    if isinstance(context.trace_request_ctx, _Attempt):
        context.trace_request_ctx.is_reused = True
