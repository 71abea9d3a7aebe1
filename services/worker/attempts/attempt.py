"""One attempt at a stream, from its claim to its ending, or to the point where another attempt has to take over."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from services.worker.attempts.continuation import (
    Continuing,
    allows_continuation,
    emitted_tokens,
    is_continuable,
    less_tokens,
)
from services.worker.attempts.patience import patiently
from services.worker.attempts.pump import Answered, Broken, Outcome, Pump
from services.worker.providers.provider import CompletionRequest, Provider
from services.worker.writing.writer import Writer
from shared.errors import LogLost, ProviderError, TailraceError
from shared.log.events import Event, cancelled, done, error, json_line
from shared.log.tokens import AttemptUsage, noted, settled
from shared.settings.settings import Settings
from shared.store.message import Kept, read_kept
from shared.store.replies import Claimed
from shared.store.store import StreamReads
from shared.telemetry.metrics import Metrics

__all__ = ("Attempt", "Handover", "answered", "can_continue", "failed")

logger = logging.getLogger(__name__)

# What is left of a policy when an answer cannot be taken up where it broke off.
_WITHOUT_CONTINUATION = {"": "restart", "continue": "restart", "continue_or_fail": "restart_or_fail"}

Updates = Mapping[str, str | int | bytes]
Usages = Mapping[int, AttemptUsage]


@dataclass(frozen=True, slots=True)
class Handover:
    """The attempt broke off half-way. `reason` goes into the next fence; `error` ends the stream if there is none.

    The next attempt begins with the provider after `provider`, asks none of those `ruled_out`, and with `must_restart`
    keeps nothing.
    """

    reason: str
    error: TailraceError
    provider: str = ""
    ruled_out: frozenset[str] = frozenset()
    must_restart: bool = False


class Attempt:
    """The work that a claim has given us: its `request`, parsed. `spent` is the usage of the attempts before it.

    `providers` are those that may be asked, in the order in which they are to be.
    """

    def __init__(
        self,
        claimed: Claimed,
        request: CompletionRequest,
        writer: Writer,
        *,
        store: StreamReads,
        providers: Sequence[Provider],
        spent: Usages,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self.request = request
        self.writer = writer
        self._claimed = claimed
        self._store = store
        self._providers = providers
        self._spent = spent
        self._settings = settings
        self._metrics = metrics

    async def run(self) -> Handover | None:
        """None when the stream has ended. Raises `Lost`, `StoreStalled` or `StoreError`."""
        self.writer.note(noted(self._spent))
        request = self.request
        self._note_policy(request)
        if not self._claimed.keep:
            return await self._ended(await self._pump(self._providers, request, None))
        kept = await patiently(self._kept, within_s=self._settings.store_stall_s)
        parts = kept.content.parts()
        if not is_continuable(parts, request.options):
            return Handover("not_continuable", LogLost(), must_restart=True)
        options = less_tokens(request.options, self._emitted(kept, parts))
        if options is None:
            return await self._ended(Answered("length"))
        able = [each for each in self._providers if can_continue(each)]
        return await self._ended(await self._pump(able, replace(request, options=options), Continuing(parts)))

    async def _ended(self, outcome: Outcome) -> Handover | None:
        """Write the ending that an outcome is, unless another attempt has to take over."""
        if isinstance(outcome, Broken) and self._may_go_on(outcome):
            await self.writer.flushed()
            reason = "not_continuable" if outcome.must_restart else "provider"
            return Handover(reason, outcome.error, outcome.provider, outcome.ruled_out, outcome.must_restart)
        event, updates = self._ending(outcome)
        await self.end(event, updates)
        return None

    async def _kept(self) -> Kept:
        return await read_kept(self._store, self.writer.id, self._claimed.keep)

    async def end(self, event: Event, updates: Updates) -> None:
        """Write the terminal event, after everything that is still on its way."""
        self.writer.note(updates)
        self.writer.add([event])
        await self.writer.flushed()
        self._metrics.streams_ended.labels(status=event.kind).inc()

    async def fail(self, problem: TailraceError) -> None:
        """End the stream with an error: no other attempt will take over."""
        await self.end(*failed(problem, self._usages()))

    async def _pump(
        self, providers: Sequence[Provider], request: CompletionRequest, continuing: Continuing | None
    ) -> Outcome:
        pump = Pump(providers, settings=self._settings, metrics=self._metrics)
        outcome = await pump.run(request, self.writer, continuing)
        if continuing is None or not isinstance(outcome, Broken) or outcome.has_begun:
            return outcome
        # Somebody who cannot take an answer up can still give it from the start.
        rest = [each.name for each in self._providers if each not in providers and each.name not in outcome.ruled_out]
        return replace(outcome, must_restart=outcome.must_restart or bool(rest))

    def _note_policy(self, request: CompletionRequest) -> None:
        """Tell whoever takes over, without the request at hand, that this answer cannot be taken up."""
        policy = _WITHOUT_CONTINUATION.get(self._claimed.interruption)
        if policy is not None and not allows_continuation(request.options):
            self.writer.note({"interruption": policy})

    def _emitted(self, kept: Kept, parts: Sequence[Mapping[str, Any]]) -> int:
        """Tokens of what is kept, which the next provider may not spend again."""
        reported = [self._spent.get(attempt, {}).get("output_tokens") for attempt in kept.attempts]
        return emitted_tokens(parts, reported)

    def _may_go_on(self, outcome: Broken) -> bool:
        """Return whether another attempt may take this one's place: something was said, and somebody may do better."""
        if self._claimed.interruption == "fail":
            return False
        return outcome.must_restart or (outcome.has_begun and self._may_do_better(outcome))

    def _may_do_better(self, outcome: Broken) -> bool:
        error = outcome.error
        if not isinstance(error, ProviderError):
            return error.retryable
        if error.may_be_asked_again:
            return True
        gone = {*outcome.ruled_out, outcome.provider}
        return error.asks_others and any(each.name not in gone for each in self._providers)

    def _ending(self, outcome: Outcome) -> tuple[Event, Updates]:
        usages = self._usages()
        match outcome:
            case Answered(finish_reason):
                return answered(finish_reason, usages)
            case Broken(problem):
                return failed(problem, usages)
            case _:
                return cancelled(usage=settled(usages)), noted(usages)

    def _usages(self) -> Usages:
        return {**self._spent, self.writer.attempt: self.writer.usage}


def can_continue(provider: Provider) -> bool:
    """Return whether a provider can take up an answer where it broke off."""
    settings = provider.settings
    return settings.continuation != "none" and allows_continuation(settings.extra_body)


def answered(finish_reason: str, usages: Usages) -> tuple[Event, Updates]:
    """The terminal `done` event of an answer, and what meta says of it."""
    return done(finish_reason, usage=settled(usages)), {"finish_reason": finish_reason, **noted(usages)}


def failed(problem: TailraceError, usages: Usages) -> tuple[Event, Updates]:
    """The terminal `error` event of a failure, and what meta says of it.

    Meta also keeps what the provider answered, but for its own words: the event goes to every reader.
    """
    event = error(problem.code, problem.text, retryable=problem.retryable, usage=settled(usages))
    short: dict[str, Any] = {"code": problem.code, "message": problem.text, "retryable": problem.retryable}
    if isinstance(problem, ProviderError) and problem.answer is not None and (facts := problem.answer.facts()):
        short["answer"] = facts
    return event, {"error": json_line(short), **noted(usages)}
