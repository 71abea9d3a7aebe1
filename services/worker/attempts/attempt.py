"""One attempt at a stream, from its claim to its ending, or to the point where another attempt has to take over."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from services.worker.attempts.continuation import Continuing, is_continuable
from services.worker.attempts.patience import patiently
from services.worker.attempts.pump import Answered, Broken, Outcome, Pump
from services.worker.providers.provider import CompletionRequest, Provider
from services.worker.writing.writer import Writer
from shared.errors import LogLost, ProviderMalformed, TailraceError
from shared.log.events import Event, cancelled, done, error, json_line
from shared.log.message import Content
from shared.log.tokens import AttemptUsage, noted, settled
from shared.settings.settings import Settings
from shared.store.message import read_kept
from shared.store.replies import Claimed
from shared.store.store import StreamReads
from shared.telemetry.metrics import Metrics

__all__ = ("Attempt", "Handover", "answered", "can_continue", "failed")

logger = logging.getLogger(__name__)

Updates = Mapping[str, str | int | bytes]
Usages = Mapping[int, AttemptUsage]


@dataclass(frozen=True, slots=True)
class Handover:
    """The attempt broke off half-way. `reason` goes into the next fence; `error` ends the stream if there is none.

    The next attempt begins with provider number `next_provider`.
    """

    reason: str
    error: TailraceError
    next_provider: int = 0


class Attempt:
    """What a claim has given us to do: its `request`, parsed. `spent` is the usage of the attempts before it."""

    def __init__(
        self,
        claimed: Claimed,
        request: CompletionRequest,
        writer: Writer,
        *,
        store: StreamReads,
        providers: Sequence[Provider],
        spent: Usages,
        first_provider: int,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self.request = request
        self.writer = writer
        self._claimed = claimed
        self._store = store
        self._providers = providers
        self._spent = spent
        self._first_provider = first_provider
        self._settings = settings
        self._metrics = metrics

    async def run(self) -> Handover | None:
        """None when the stream has ended. Raises `Lost`, `StoreStalled` or `StoreError`."""
        self.writer.note(noted(self._spent))
        continuing = None
        if self._claimed.keep:
            kept = await patiently(self._kept, within_s=self._settings.store_stall_s)
            if not is_continuable(kept.parts()):
                return Handover("not_continuable", LogLost())
            continuing = Continuing(kept.parts())
        outcome = await self._pump(continuing)
        if isinstance(outcome, Broken) and self._may_go_on(outcome):
            await self.writer.flushed()
            return Handover("provider", outcome.error, outcome.index + 1)
        event, updates = self._ending(outcome)
        await self.end(event, updates)
        return None

    async def _kept(self) -> Content:
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

    async def _pump(self, continuing: Continuing | None) -> Outcome:
        able = [each for each in self._providers if continuing is None or can_continue(each)]
        pump = Pump(able, max_tries=self._settings.provider_tries, metrics=self._metrics, first=self._first_provider)
        return await pump.run(self.request, self.writer, continuing)

    def _may_go_on(self, outcome: Broken) -> bool:
        """Whether another attempt may take this one's place: something was said, and a repetition can help.

        What is malformed is so by nature: only a provider that has not been asked may do better.
        """
        if isinstance(outcome.error, ProviderMalformed) and outcome.index + 1 >= len(self._providers):
            return False
        return outcome.has_begun and outcome.error.retryable and self._claimed.interruption != "fail"

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
    """Whether a provider can take up an answer where it broke off."""
    return provider.settings.continuation != "none"


def answered(finish_reason: str, usages: Usages) -> tuple[Event, Updates]:
    """The terminal `done` event of an answer, and what meta says of it."""
    return done(finish_reason, usage=settled(usages)), {"finish_reason": finish_reason, **noted(usages)}


def failed(problem: TailraceError, usages: Usages) -> tuple[Event, Updates]:
    """The terminal `error` event of a failure, and what meta says of it."""
    event = error(problem.code, problem.text, retryable=problem.retryable, usage=settled(usages))
    short = {"code": problem.code, "message": problem.text, "retryable": problem.retryable}
    return event, {"error": json_line(short), **noted(usages)}
