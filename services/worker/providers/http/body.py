"""The one place that touches aiohttp: a session, one request, the bytes of its response, what its exceptions mean.

aiohttp's exceptions hold addresses and the peer's words. They are not chained to ours: only the name of the class goes
along, as a note.
"""

import asyncio
from typing import Final

import aiohttp
from aiohttp.http import HttpProcessingError

from services.worker.providers.http.aiohttp_tap import Shortcut, Take, Tap, unread
from services.worker.providers.http.watchdog import Watchdog
from shared.errors import (
    ProviderError,
    ProviderFailed,
    ProviderMalformed,
    ProviderStalled,
    ProviderTruncated,
    ProviderUnreachable,
)

__all__ = ("ResponseBody",)


_Meaning = tuple[tuple[type[Exception], type[ProviderError]], ...]

# First match wins, so subclasses stand before their bases.
_BEFORE_RESPONSE: Final[_Meaning] = (
    (aiohttp.ConnectionTimeoutError, ProviderUnreachable),
    (TimeoutError, ProviderStalled),
    (HttpProcessingError, ProviderMalformed),
    (aiohttp.ClientResponseError, ProviderMalformed),
    (aiohttp.ClientPayloadError, ProviderTruncated),
    (aiohttp.ClientConnectionError, ProviderUnreachable),
    (aiohttp.InvalidURL, ProviderUnreachable),
    (aiohttp.ClientError, ProviderFailed),
    (OSError, ProviderUnreachable),
    # A name that no resolver takes.
    (UnicodeError, ProviderUnreachable),
)
_IN_RESPONSE: Final[_Meaning] = (
    (TimeoutError, ProviderStalled),
    (HttpProcessingError, ProviderMalformed),
    (aiohttp.ClientError, ProviderTruncated),
    (OSError, ProviderTruncated),
)


class ResponseBody:
    """The bytes of a response as they come in. Each wait has a deadline; closing cuts the connection at once."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self._content = response.content
        self._shortcut = Shortcut.of(response)
        self._watchdog = Watchdog(self._expire)
        self._lost = _lost(response)
        if self._lost is not None:
            self._lost.add_done_callback(self._break)

    async def read(self, deadline: float) -> bytes:
        """Return new bytes, `b""` at the end. Raises `ProviderStalled`, `ProviderTruncated`, `ProviderMalformed`."""
        if self._lost is not None and self._lost.done():
            self._break(self._lost)
        self._watchdog.watch(deadline)
        try:
            return await self._content.readany()
        except _foreign(_IN_RESPONSE) as error:
            if rest := unread(self._content):
                return rest
            raise _translated(error, _IN_RESPONSE) from None
        finally:
            self._watchdog.rest()

    async def pour(self, take: Take, deadline: float) -> None:
        """Give `take` what comes in as it comes, until it has enough. The end, or a failure, the next `read` tells."""
        self._watchdog.watch(deadline)
        try:
            await Tap(self._content, take, self._shortcut).run()
        finally:
            self._watchdog.rest()

    def extend(self, deadline: float) -> None:
        """Move the deadline of the wait that is under way to a later time."""
        self._watchdog.deadline = deadline

    def close(self, *, reuse: bool = False) -> None:
        """Cut the connection, or with `reuse` give it back if the response was read to its very end."""
        self._watchdog.close()
        if self._lost is not None:
            self._lost.remove_done_callback(self._break)
        if reuse:
            self._response.release()
        else:
            self._response.close()

    def _expire(self) -> None:
        self._content.set_exception(TimeoutError())

    def _break(self, _lost: asyncio.Future[None]) -> None:
        # aiohttp forgets whoever waits for the body when it drops a connection because of broken chunking.
        if not self._content.is_eof() and self._content.exception() is None:
            self._content.set_exception(aiohttp.ClientPayloadError())


def _lost(response: aiohttp.ClientResponse) -> asyncio.Future[None] | None:
    """Done when the connection of a response is lost; `None` if it was given back already."""
    protocol = response.connection.protocol if response.connection is not None else None
    lost = protocol.closed if protocol is not None else None
    if lost is not None:
        # Once per connection: an exception that nobody looks at is logged, with the peer's words.
        lost.remove_done_callback(_look_at)
        lost.add_done_callback(_look_at)
    return lost


def _look_at(lost: asyncio.Future[None]) -> None:
    if not lost.cancelled():
        lost.exception()


def _foreign(table: _Meaning) -> tuple[type[Exception], ...]:
    return tuple(kind for kind, _ in table)


def _translated(error: Exception, table: _Meaning) -> ProviderError:
    meant = next(ours for foreign, ours in table if isinstance(error, foreign))()
    meant.add_note(type(error).__name__)
    return meant
