"""Requests that an SDK sends again by itself: they join the stream that the first of them began.

SDKs repeat a request after a broken connection or a 5xx, and none of them sends an Idempotency-Key. They count their
tries in a header; a second try with the same body is about the same answer, which is not asked and paid for twice.
"""

import hashlib
import logging
from typing import Final

from starlette.requests import Request

from services.edge.access.caller import Caller
from services.edge.api.asking import create_from, streams_of, threads_of
from services.edge.api.schemas import CreateStream
from services.edge.streams import CreatedStream
from shared.errors import StoreError, StreamExpired, UnknownStream
from shared.store.calls import Interruption

__all__ = ("create_or_join",)

logger = logging.getLogger(__name__)

_HEADER: Final = "x-stainless-retry-count"
_API: Final = "repeated"
# The SDKs' own patience with one try.
_WITHIN_MS: Final = 600_000
_WORTH_JOINING: Final = frozenset({"queued", "running", "done"})


async def create_or_join(
    request: Request, caller: Caller, asked: CreateStream, raw: bytes, *, interruption: Interruption | None = None
) -> CreatedStream:
    """Ask a model, or find the stream that an earlier try of the same request began. Raises as `create_from`."""
    digest = hashlib.sha256(request.url.path.encode() + raw).hexdigest()
    if request.headers.get(_HEADER, "0") not in ("", "0"):
        begun = await _begun(request, caller, digest)
        if begun is not None:
            return begun
    created = await create_from(request, caller, asked, raw, interruption=interruption)
    try:
        await threads_of(request).lead(caller, _API, digest, created.id, expires_ms=_WITHIN_MS)
    except StoreError as error:
        # Without it a repeated request would only be paid for twice; to fail it now would repeat it for sure.
        logger.warning("a stream cannot be joined by a repeated request: %s", error.message)
    return created


async def _begun(request: Request, caller: Caller, digest: str) -> CreatedStream | None:
    stream_id = await threads_of(request).current(caller, _API, digest, expires_ms=_WITHIN_MS)
    if stream_id is None:
        return None
    try:
        meta = await streams_of(request).state(caller, stream_id)
    except (UnknownStream, StreamExpired):
        return None
    return CreatedStream(meta.id, meta.status, is_new=False) if meta.status in _WORTH_JOINING else None
