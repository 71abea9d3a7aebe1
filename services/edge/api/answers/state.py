"""A stream's state with its message: made and sent piece by piece, as fast as its reader takes it.

A message can be 50 MiB. As one JSON body it would be there four times over, once in the transport for as long as a slow
reader likes; and in one large write it would go out at 1.7 MB a second to a proxy on the same machine, because a send
buffer that holds less than two of loopback's segments waits 40 ms for each acknowledgement.
"""

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from services.edge.access.admission import come_again
from services.edge.access.byte_limiter import ByteLimiter
from services.edge.api.answers.json_answer import JSON_HEADERS, JSON_TYPE
from services.edge.carriers.carrier import Carrier, Disconnected
from services.edge.carriers.selection import carrier_for
from shared.errors import UnknownStream
from shared.log.events import json_line
from shared.settings.settings import Settings
from shared.store.message import Assembled, assemble
from shared.store.state import Meta
from shared.store.store import StreamReads

__all__ = ("StateResponse", "StateResponses", "described")

_HEADERS: Final = [
    (name.lower().encode(), value.encode()) for name, value in {"Content-Type": JSON_TYPE, **JSON_HEADERS}.items()
]
# Up to here a message goes out as any other body does, and waits for nobody.
_SMALL_BYTES: Final = 32 * 1024
_PIECE_BYTES: Final = 16 * 1024
# After so many pieces others get their turn of the loop, however fast the reader is.
_PIECES_AT_ONCE: Final = 32
# Who takes less than this holds up others that want a large message too.
_LEAST_BYTES_PER_S: Final = 256 * 1024
_BUSY: Final = "This edge hands out as many long messages as it may; try again soon."


def described(meta: Meta) -> dict[str, Any]:
    """`StreamState` without the message."""
    return {
        "id": meta.id,
        "status": meta.status,
        "model": meta.model,
        "provider": meta.provider or None,
        "attempt": meta.attempt,
        "position": str(meta.lineage.event_id(meta.tail)) if meta.attempt else None,
        "trimmed_units": meta.trimmed,
        "usage": meta.usage,
        "finish_reason": meta.finish_reason or None,
        "error": meta.error,
        "created_ms": meta.created_ms,
        "started_ms": meta.started_ms or None,
        "first_ms": meta.first_ms or None,
        "finished_ms": meta.finished_ms or None,
        "expires_ms": meta.expires_ms or None,
        "metadata": meta.metadata,
    }


class StateResponse(Response):
    """The state of a stream whose message had about `size_bytes` a moment ago."""

    def __init__(
        self, store: StreamReads, stream_id: str, *, size_bytes: int, limiter: ByteLimiter, send_timeout_s: float
    ) -> None:
        self.status_code = 200
        self.background = None
        self._store = store
        self._stream_id = stream_id
        self._size_bytes = size_bytes
        self._limiter = limiter
        self._send_timeout_s = send_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Raises `MemoryPressure`, `UnknownStream` or `StoreError` before anything is sent."""
        if self._size_bytes <= _SMALL_BYTES:
            body = b"".join(_json(await self._whole()))
            await Response(body, headers=JSON_HEADERS, media_type=JSON_TYPE)(scope, receive, send)
            return
        async with self._limiter.taken(self._size_bytes):
            pieces = _pieces(_json(await self._whole()))
            carrier = carrier_for(scope, receive, send, timeout_s=self._send_timeout_s, on_stall=_stand_by)
            try:
                async with asyncio.timeout(self._send_timeout_s + self._size_bytes / _LEAST_BYTES_PER_S):
                    await _send(pieces, carrier)
            except (Disconnected, TimeoutError):
                await carrier.drop()
            finally:
                carrier.release()

    async def _whole(self) -> Assembled:
        whole = await assemble(self._store, self._stream_id)
        if whole is None:
            raise UnknownStream
        return whole


class StateResponses:
    """Answers with the states of streams. Large ones may together take as much memory as recent frames may."""

    def __init__(self, store: StreamReads, settings: Settings) -> None:
        self._store = store
        self._send_timeout_s = settings.send_timeout_s
        self._limiter = ByteLimiter(settings.edge_buffer_bytes, refusal=lambda: come_again(_BUSY))

    def of(self, meta: Meta) -> StateResponse:
        """The stream and its message so far, in the shape of `StreamState`."""
        return StateResponse(
            self._store,
            meta.id,
            size_bytes=meta.tail - meta.trimmed,
            limiter=self._limiter,
            send_timeout_s=self._send_timeout_s,
        )


async def _send(pieces: Iterable[bytes], carrier: Carrier) -> None:
    await carrier.start(_HEADERS)
    for number, piece in enumerate(pieces, 1):
        await carrier.send(piece)
        if number % _PIECES_AT_ONCE == 0:
            await asyncio.sleep(0)
    await carrier.end()


def _json(whole: Assembled) -> Iterator[bytes]:
    yield json_line(described(whole.meta)).removesuffix(b"}") + b',"content":'
    yield from whole.content.json()
    yield b"}"


def _pieces(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, in pieces of one size."""
    held = bytearray()
    for part in parts:
        held += part
        while len(held) >= _PIECE_BYTES:
            yield bytes(held[:_PIECE_BYTES])
            del held[:_PIECE_BYTES]
    yield bytes(held)


def _stand_by() -> None:
    """The next piece waits for room by itself."""
