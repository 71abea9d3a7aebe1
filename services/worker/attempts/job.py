"""One job: claim a stream and see it to its end. The claim decides everything; a job that comes twice does no harm."""

import asyncio
import logging
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from services.worker.attempts.attempt import Attempt, Handover, can_continue, failed
from services.worker.attempts.continuation import allows_continuation, is_continuable
from services.worker.attempts.patience import Patience, patiently
from services.worker.providers.provider import CompletionRequest, Provider
from services.worker.writing.appender import Appender
from services.worker.writing.cancels import Cancels
from services.worker.writing.leases import LeaseRenewer
from services.worker.writing.writer import Lapsed, Lost, StoreStalled, Writer
from shared.errors import LogLost, StoreError, StoreFull, StoreUnavailable, StreamTooLarge, WorkerCrashLoop, WorkerLost
from shared.log.events import CANCELLED, Event
from shared.log.position import NONCE_CHARS
from shared.log.tokens import AttemptUsage
from shared.queue.arq import ArqDispatcher
from shared.settings.settings import Settings
from shared.store.calls import Claim
from shared.store.message import read_content
from shared.store.replies import Claimed, ClaimReply, Exhausted, Fenced, TailMismatch
from shared.store.state import unreported
from shared.store.store import Store
from shared.telemetry.metrics import APPEND_ANSWERS, CLAIM_ANSWERS, FINISH_ANSWERS, Metrics

__all__ = ("Jobs",)

logger = logging.getLogger(__name__)

# How long a handover may take when the process is already on its way out.
_LAST_WORDS_S = 5.0
# Why an attempt broke off, and the reason in the fence of the next: the lease could not be renewed in time.
_STORE = "store"
# The reason in the fence of the first attempt.
_START = "start"


@dataclass(frozen=True, slots=True)
class _Plan:
    """The plan of a claim: what is kept of the stream, why, from whom, and what it has cost before.

    Of its providers the one after `after_provider` is asked first, and those `ruled_out` are not.
    """

    mode: Literal["continue", "restart"] = "restart"
    reason: str = _START
    holder: str = ""
    after_provider: str = ""
    ruled_out: frozenset[str] = frozenset()
    spent: Mapping[int, AttemptUsage] = field(default_factory=dict)
    # Attempts that the store's troubles have cost, not the stream: they are not counted.
    excused: int = 0


class Jobs:
    """Runs jobs. `providers_of` names the providers of a model, best first."""

    def __init__(
        self,
        *,
        name: str,
        store: Store,
        appender: Appender,
        renewer: LeaseRenewer,
        cancels: Cancels,
        dispatcher: ArqDispatcher,
        providers_of: Callable[[str], Sequence[Provider]],
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self._name = name
        self._store = store
        self._appender = appender
        self._renewer = renewer
        self._cancels = cancels
        self._dispatcher = dispatcher
        self._providers_of = providers_of
        self._settings = settings
        self._metrics = metrics

    async def pull(
        self, stream_id: str, *, takeover: bool = False, on_decided: Callable[[], None] = lambda: None
    ) -> None:
        """Pull a stream to its end, if the claim is granted. Raises `StoreError` when Redis cannot answer.

        `on_decided` is called when the first claim has been answered: from then on the stream needs no job.
        """
        plan: _Plan | None = await self._takeover(stream_id) if takeover else _Plan()
        attempt: Attempt | None = None
        handover: Handover | None = None
        while plan is not None:
            nonce, reply, plan = await self._claim(stream_id, plan)
            if isinstance(reply, Exhausted) and plan.reason == _START:
                # The job is late: somebody has begun, and is gone.
                plan = await self._takeover(stream_id)
                continue
            on_decided()
            if not isinstance(reply, Claimed):
                await self._not_claimed(stream_id, reply, plan, attempt, handover)
                return
            attempt = self._attempt(stream_id, nonce, reply, plan)
            handover = await self._run(attempt)
            plan = await self._next_plan(reply, attempt, handover, plan) if handover else None

    async def _takeover(self, stream_id: str) -> _Plan | None:
        """The plan for a stream whose worker is gone; None if there is nothing left to take over."""
        meta = await patiently(lambda: self._store.meta(stream_id), within_s=self._settings.store_stall_s)
        if meta is None or meta.is_over:
            return None
        spent = {**meta.usages, meta.attempt: unreported(meta)} if meta.attempt else {}
        if meta.cancelling:
            await self._finish(stream_id, CANCELLED)
            return None
        if meta.attempt and meta.interruption == "fail":
            await self._finish(stream_id, failed(WorkerLost(), spent)[0])
            return None
        mode = await self._mode(stream_id, meta.model, meta.interruption)
        if await self._would_unsay(stream_id, mode, meta.interruption):
            await self._finish(stream_id, failed(WorkerLost(), spent)[0])
            return None
        return _Plan(mode, "takeover", spent=spent, excused=meta.excused)

    async def _next_plan(self, claimed: Claimed, attempt: Attempt, handover: Handover, plan: _Plan) -> _Plan | None:
        """The plan for taking over from ourselves; None if that must not be, and the stream has ended instead."""
        request, stream_id = attempt.request, attempt.writer.id
        is_open = not handover.must_restart and allows_continuation(request.options)
        policy = claimed.interruption if is_open else "restart"
        ruled_out = plan.ruled_out | handover.ruled_out
        mode = await self._mode(stream_id, request.model, policy, ruled_out)
        if await self._would_unsay(stream_id, mode, claimed.interruption):
            await attempt.fail(handover.error)
            return None
        return _Plan(
            mode=mode,
            reason=handover.reason,
            holder=attempt.writer.nonce,
            after_provider=handover.provider or plan.after_provider,
            ruled_out=ruled_out,
            spent={**plan.spent, attempt.writer.attempt: attempt.writer.usage},
            excused=plan.excused + (handover.reason == _STORE),
        )

    async def _mode(
        self, stream_id: str, model: str, interruption: str, ruled_out: frozenset[str] = frozenset()
    ) -> Literal["continue", "restart"]:
        """Continue if the stream's policy, a provider and what has been said so far allow it."""
        able = [each for each in self._providers_of(model) if can_continue(each) and each.name not in ruled_out]
        if interruption in {"restart", "restart_or_fail"} or not able:
            return "restart"
        stall_s = self._settings.store_stall_s
        content = await patiently(lambda: read_content(self._store, stream_id), within_s=stall_s)
        return "continue" if is_continuable(content.parts()) else "restart"

    async def _would_unsay(self, stream_id: str, mode: str, interruption: str) -> bool:
        """Return whether a new start would take back what was said, from readers that cannot have that."""
        if mode == "continue" or not interruption.endswith("_or_fail"):
            return False
        stall_s = self._settings.store_stall_s
        return bool((await patiently(lambda: read_content(self._store, stream_id), within_s=stall_s)).parts())

    async def _claim(self, stream_id: str, plan: _Plan) -> tuple[str, ClaimReply, _Plan]:
        """Claim, again if the store refuses or is silent. Answers also what was learnt about the plan on the way."""
        patience, lost = Patience(self._settings.store_stall_s), set[str]()
        while True:
            nonce = secrets.token_hex(NONCE_CHARS // 2)
            try:
                if lost:
                    plan = await self._after_lost_claims(stream_id, plan, lost)
                return nonce, await self._claim_once(stream_id, nonce, plan), plan
            except StoreError as refusal:
                logger.warning("claim refused: %s", refusal, extra={"stream": stream_id})
                lost.add(nonce)
                await patience.pause(refusal)

    async def _after_lost_claims(self, stream_id: str, plan: _Plan, lost: set[str]) -> _Plan:
        """The plan after claims without an answer: one that was carried out is taken over from ourselves."""
        meta = await self._store.meta(stream_id)
        if meta is None or meta.nonce not in lost or meta.nonce == plan.holder:
            return plan
        return replace(plan, holder=meta.nonce, excused=plan.excused + 1)

    async def _claim_once(self, stream_id: str, nonce: str, plan: _Plan) -> ClaimReply:
        # Who means to begin may only be the first: what is done with an answer that has begun is not in the job.
        most = 1 if plan.reason == _START else self._settings.max_attempts
        claim = Claim(
            nonce=nonce,
            worker=self._name,
            lease_ms=round(self._settings.lease_s * 1000),
            mode=plan.mode,
            reason=plan.reason,
            holder=plan.holder,
            max_attempts=most + plan.excused,
        )
        reply = await self._store.claim(stream_id, claim, self._settings.retention)
        self._metrics.claims.labels(answer=CLAIM_ANSWERS[type(reply)]).inc()
        return reply

    def _attempt(self, stream_id: str, nonce: str, claimed: Claimed, plan: _Plan) -> Attempt:
        writer = self._appender.open(stream_id, attempt=claimed.attempt, nonce=nonce, tail=claimed.keep)
        if claimed.cancelling:
            writer.stop()
        if plan.excused:
            writer.note({"excused": plan.excused})
        request = CompletionRequest.parse(claimed.request)
        return Attempt(
            claimed,
            request,
            writer,
            store=self._store,
            providers=_in_order(self._providers_of(request.model), plan),
            spent=plan.spent,
            settings=self._settings,
            metrics=self._metrics,
        )

    async def _run(self, attempt: Attempt) -> Handover | None:
        """One attempt between its registration and its removal. None when there is nothing left to do here."""
        writer = attempt.writer
        where = {"stream": writer.id, "attempt": writer.attempt}
        self._renewer.add(writer)
        self._cancels.add(writer)
        try:
            return await attempt.run()
        except Lapsed:
            # Nobody may have taken it: then it goes on here, as soon as the store can be asked.
            return Handover(_STORE, StoreUnavailable())
        except Lost as lost:
            if isinstance(lost.reply, TailMismatch):
                # The store lost more of the log than we can repair. Whoever continues has to fence first: we do.
                return Handover("log_lost", LogLost())
            if isinstance(lost.reply, Fenced) and lost.reply.attempt < writer.attempt:
                # A failover has lost our claim, so nobody has the stream; it would wait until it is due again.
                return Handover(_STORE, LogLost())
            logger.info("stream lost: %s", APPEND_ANSWERS[type(lost.reply)], extra=where)
        except StoreStalled:
            await self._release(writer)
            await self._finish(writer.id, failed(StoreFull(), {writer.attempt: writer.usage})[0])
        except StreamTooLarge as problem:
            await self._release(writer)
            await self._finish(writer.id, failed(problem, {writer.attempt: writer.usage})[0])
        except StoreError as refusal:
            logger.exception("the store refused an append for good: %s", refusal.code, extra=where)
            await self._release(writer)
        except asyncio.CancelledError:
            await asyncio.shield(self._hand_over(writer))
            raise
        finally:
            self._cancels.remove(writer)
            if writer.has_ended:
                self._renewer.keep(writer)
            else:
                self._renewer.remove(writer)
        return None

    async def _not_claimed(
        self, stream_id: str, reply: ClaimReply, plan: _Plan, attempt: Attempt | None, handover: Handover | None
    ) -> None:
        if not isinstance(reply, Exhausted):
            logger.info("not claimed: %s", CLAIM_ANSWERS[type(reply)], extra={"stream": stream_id})
        elif attempt is not None and handover is not None:
            await attempt.fail(handover.error)  # ours still, and nobody else's turn
        else:
            await self._finish(stream_id, failed(WorkerCrashLoop(), plan.spent)[0])

    async def _hand_over(self, writer: Writer) -> None:
        """Leave a running stream to another worker: what we have goes out, the lease back, and a job into the queue."""
        try:
            async with asyncio.timeout(_LAST_WORDS_S):
                await writer.flushed()
                await self._release(writer)
                await self._dispatcher.redispatch(writer.id, attempt=writer.attempt)
        except (StoreError, Lost, StoreStalled, TimeoutError) as failure:
            # The sweepers find it when the lease runs out; only later.
            logger.warning("not handed over: %s", _cause(failure), extra={"stream": writer.id})

    async def _release(self, writer: Writer) -> None:
        try:
            await self._store.release(writer.id, writer.nonce)
        except StoreError as failure:
            logger.warning("lease not released: %s", failure, extra={"stream": writer.id})

    async def _finish(self, stream_id: str, event: Event) -> None:
        """End a stream that nobody holds."""
        nonce = secrets.token_hex(NONCE_CHARS // 2)
        reply = await self._store.finish(stream_id, event, nonce=nonce, retention=self._settings.retention)
        logger.warning("stream ended as %s: %s", event.kind, FINISH_ANSWERS[type(reply)], extra={"stream": stream_id})
        self._metrics.streams_ended.labels(status=event.kind).inc()


def _cause(failure: StoreError | Lost | StoreStalled | TimeoutError) -> str:
    """Return why a stream was not handed over, in words for the log."""
    match failure:
        case StoreError():
            return failure.message
        case Lost():
            return APPEND_ANSWERS[type(failure.reply)]
        case StoreStalled():
            return "the store refuses appends"
        case TimeoutError():
            return "no answer in time"


def _in_order(providers: Sequence[Provider], plan: _Plan) -> Sequence[Provider]:
    """The providers that may be asked, the one after the last first. Were none left, all of them."""
    names = [provider.name for provider in providers]
    first = names.index(plan.after_provider) + 1 if plan.after_provider in names else 0
    turned = [*providers[first:], *providers[:first]]
    return [provider for provider in turned if provider.name not in plan.ruled_out] or turned
