"""One job: claim a stream, pump it, write its ending. The claim decides everything; coming twice does no harm."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Sequence
from typing import Literal

from services.worker.appender import Appender
from services.worker.cancels import Cancels
from services.worker.heart import Heart
from services.worker.provider import CompletionRequest, Provider
from services.worker.pump import Ending, Pump
from services.worker.writer import Lost, StoreStalled, Writer
from shared.errors import StoreError
from shared.events import error
from shared.position import NONCE_CHARS
from shared.settings import Settings
from shared.store import Claim, Claimed, Exhausted, Meta, Store
from shared.telemetry import Metrics

__all__ = ("Jobs",)

logger = logging.getLogger(__name__)

# How long a handover or an ending may take when the process is already on its way out.
_LAST_WORDS_S = 5.0


class Jobs:
    """Runs jobs. `providers_of` names the providers of a model, best first."""

    def __init__(
        self,
        *,
        name: str,
        store: Store,
        appender: Appender,
        heart: Heart,
        cancels: Cancels,
        providers_of: Callable[[str], Sequence[Provider]],
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self._name = name
        self._store = store
        self._appender = appender
        self._heart = heart
        self._cancels = cancels
        self._providers_of = providers_of
        self._settings = settings
        self._metrics = metrics

    async def pull(self, stream_id: str, *, takeover: bool = False) -> None:
        """Pull a stream to its end, if the claim is granted."""
        nonce = secrets.token_hex(NONCE_CHARS // 2)
        mode: Literal["continue", "restart"] = "restart"
        if takeover:
            meta = await self._store.meta(stream_id)
            if meta is None or meta.is_over or await self._gave_up(meta, nonce):
                return
        claim = Claim(
            nonce=nonce,
            worker=self._name,
            lease_ms=round(self._settings.lease_s * 1000),
            mode=mode,
            reason="takeover" if takeover else "start",
            max_attempts=self._settings.max_attempts,
        )
        reply = await self._store.claim(stream_id, claim, self._settings.retention)
        self._metrics.claims.labels(answer=type(reply).__name__.lower()).inc()
        match reply:
            case Claimed():
                await self._pull_claimed(stream_id, nonce, reply)
            case Exhausted():
                await self._finish(stream_id, "worker_crash_loop", "The stream's workers kept dying.")
            case _:
                logger.debug("not claimed: %s", reply, extra={"stream": stream_id})

    async def _pull_claimed(self, stream_id: str, nonce: str, claimed: Claimed) -> None:
        writer = self._appender.open(stream_id, attempt=claimed.attempt, nonce=nonce, tail=claimed.keep)
        if claimed.cancelling:
            writer.stop()
        self._heart.add(writer)
        self._cancels.add(writer)
        try:
            ending = await self._pump(claimed, writer)
            writer.note(ending.updates)
            writer.add([ending.event])
            await writer.flushed()
            self._metrics.streams_ended.labels(status=ending.event.kind).inc()
        except Lost as lost:
            logger.info("stream lost: %s", lost, extra={"stream": stream_id, "attempt": claimed.attempt})
        except StoreStalled:
            await self._give_back(writer)
            await self._finish(stream_id, "storage", "The stream store refused the answer for too long.")
        except StoreError as refusal:
            logger.exception("the store refused an append for good: %s", refusal.code, extra={"stream": stream_id})
            await self._give_back(writer)
        except asyncio.CancelledError:
            await asyncio.shield(self._give_back(writer))
            raise
        finally:
            self._cancels.remove(writer)
            self._heart.remove(writer)

    async def _pump(self, claimed: Claimed, writer: Writer) -> Ending:
        request = CompletionRequest.parse(claimed.request)
        pump = Pump(self._providers_of(request.model), self._metrics)
        return await pump.run(request, writer)

    async def _gave_up(self, meta: Meta, nonce: str) -> bool:
        """Whether the stream's policy is to fail rather than to begin again; then it is ended here."""
        if meta.attempt == 0 or meta.interruption != "fail":
            return False
        await self._finish(meta.id, "worker_lost", "The worker of this stream died.")
        return True

    async def _give_back(self, writer: Writer) -> None:
        """Release the lease, so that the next worker need not wait for it to run out."""
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await self._store.release(writer.id, writer.nonce)
        except (StoreError, TimeoutError) as failure:
            # The lease will run out by itself, only later.
            logger.warning("lease not released: %s", failure, extra={"stream": writer.id})

    async def _finish(self, stream_id: str, code: str, text: str) -> None:
        nonce = secrets.token_hex(NONCE_CHARS // 2)
        event = error(code, text, retryable=True)
        try:
            reply = await self._store.finish(stream_id, event, nonce=nonce, retention=self._settings.retention)
        except StoreError as failure:
            logger.exception("stream could not be ended: %s", failure.code, extra={"stream": stream_id})
            return
        logger.warning("stream ended with %s: %s", code, reply, extra={"stream": stream_id})
        self._metrics.streams_ended.labels(status="error").inc()
