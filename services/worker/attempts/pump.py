"""From an open attempt to the end of its answer: ask providers until one answers, and hand its events on."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter

from services.worker.attempts.continuation import Continuing
from services.worker.attempts.failover import Failure, NextStep, Retry, after_failure, ruled_out
from services.worker.attempts.joining import Ambiguous
from services.worker.attempts.report import report
from services.worker.attempts.stop_scope import StopScope
from services.worker.providers.provider import CompletionRequest, CompletionStream, Pouring, Provider
from services.worker.writing.writer import Writer
from shared.errors import (
    ProviderError,
    ProviderModelMissing,
    ProviderPolicy,
    ProviderRejected,
    ProviderTruncated,
    TailraceError,
    UnknownModel,
)
from shared.log.events import Event
from shared.log.tokens import noted
from shared.settings.settings import Settings
from shared.telemetry.metrics import Metrics

__all__ = ("Answered", "Broken", "Outcome", "Pump", "Stopped")

logger = logging.getLogger(__name__)

# A counter has a lock, and counting each chunk by itself took 3 % of a busy worker.
_COUNTED_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Answered:
    """The provider finished its answer."""

    finish_reason: str


@dataclass(frozen=True, slots=True)
class Stopped:
    """The stream is to stop: cancelled, or no longer ours."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Nobody gives (the rest of) this answer. `has_begun` says whether readers have seen some of this attempt.

    `provider` failed last, those `ruled_out` need not be asked again. With `must_restart` the answer could not be taken
    up where it broke off, but may be begun anew.
    """

    error: TailraceError
    has_begun: bool = False
    provider: str = ""
    ruled_out: frozenset[str] = frozenset()
    must_restart: bool = False


Outcome = Answered | Stopped | Broken


class Pump:
    """Pumps one attempt. Providers are asked in turn."""

    def __init__(self, providers: Sequence[Provider], *, settings: Settings, metrics: Metrics) -> None:
        self._providers = providers
        self._settings = settings
        self._metrics = metrics

    async def run(self, request: CompletionRequest, writer: Writer, continuing: Continuing | None = None) -> Outcome:
        """Everything that came has been handed to the writer. The ending, whatever it is, is the caller's to write."""
        if not self._providers:
            return Broken(UnknownModel())
        failures: list[Failure] = []
        index = 0
        while True:
            provider, produced = self._providers[index], writer.produced
            try:
                return await self._ask(provider, request, writer, continuing)
            except Ambiguous:
                logger.info("the continuation may be a repetition, or not", extra={"stream": writer.id})
                return Broken(ProviderTruncated(), provider=provider.name, must_restart=True)
            except ProviderError as error:
                failures.append(Failure(index, error, time.monotonic()))
                report(error, provider=provider.name, writer=writer, words=self._settings.log_provider_messages)
                if writer.produced > produced:
                    return self._broken(failures, error, writer, has_begun=True)
                step = self._next_step(failures)
                if not isinstance(step, Retry):
                    return self._broken(failures, step.error, writer, is_refused=_is_refused(failures, continuing))
                with StopScope(writer) as scope:
                    await asyncio.sleep(step.pause_s)
                if scope.happened:
                    return Stopped()
                index = step.index

    def _next_step(self, failures: Sequence[Failure]) -> NextStep:
        return after_failure(
            failures,
            providers=len(self._providers),
            max_tries=self._settings.provider_tries,
            policy_failover=self._settings.policy_failover,
        )

    def _broken(
        self,
        failures: Sequence[Failure],
        error: ProviderError,
        writer: Writer,
        *,
        has_begun: bool = False,
        is_refused: bool = False,
    ) -> Broken:
        # The state names the provider whose error is told.
        writer.note({"provider": next(self._providers[each.index].name for each in failures if each.error is error)})
        out = {index for index in ruled_out(failures) if not is_refused or not _refuses_to_continue(failures, index)}
        return Broken(
            error,
            has_begun=has_begun,
            provider=self._providers[failures[-1].index].name,
            ruled_out=frozenset(self._providers[index].name for index in out),
            must_restart=is_refused,
        )

    async def _ask(
        self, provider: Provider, request: CompletionRequest, writer: Writer, continuing: Continuing | None
    ) -> Outcome:
        if continuing is not None:
            request = continuing.request_to(provider, request)
        stream = provider.stream(request)
        try:
            with StopScope(writer) as scope:
                await self._pour(provider, stream, writer, continuing)
            if scope.happened or stream.outcome is None:
                return Stopped()
            return Answered(stream.outcome.finish_reason)
        finally:
            _note_usage(provider, stream, writer)
            self._count_unknown(provider, stream.unknown)
            await stream.aclose()

    def _count_unknown(self, provider: Provider, unknown: Mapping[str, int]) -> None:
        for what, count in unknown.items():
            self._metrics.provider_unknown.labels(what=what).inc(count)
            logger.debug("not understood: %s", what, extra={"provider": provider.name, "times": count})

    async def _pour(
        self, provider: Provider, stream: CompletionStream, writer: Writer, continuing: Continuing | None
    ) -> None:
        asked, tally = time.monotonic(), _Tally(writer, self._metrics.provider_chunks.labels(provider=provider.name))
        await stream.open()
        writer.note({"provider": provider.name})
        # What continues an answer is compared with its beginning, read by read.
        pouring = stream if continuing is None and isinstance(stream, Pouring) else None
        is_first = True
        try:
            while (events := await stream.read()) is not None:
                if is_first:
                    is_first = False
                    self._metrics.time_to_first_token.observe(time.monotonic() - asked)
                tally.count(events)
                writer.add(continuing.trimmed(events) if continuing is not None else events)
                await writer.room()
                if pouring is not None:
                    await pouring.pour(tally.take)
                    await writer.room()
        finally:
            tally.close()
        if continuing is not None:
            writer.add(continuing.rest())


class _Tally:
    """Takes events for the writer and counts them."""

    def __init__(self, writer: Writer, counter: Counter) -> None:
        self._writer = writer
        self._counter = counter
        self._uncounted = 0

    def take(self, events: Sequence[Event]) -> bool:
        """Answers whether the writer has room for more."""
        self.count(events)
        return self._writer.add(events)

    def count(self, events: Sequence[Event]) -> None:
        self._uncounted += len(events)
        if self._uncounted >= _COUNTED_AT_ONCE:
            self.close()

    def close(self) -> None:
        self._counter.inc(self._uncounted)
        self._uncounted = 0


def _is_refused(failures: Sequence[Failure], continuing: Continuing | None) -> bool:
    """Return whether a continuation was asked for, and some provider would not have it."""
    return continuing is not None and any(_refuses_to_continue(failures, failure.index) for failure in failures)


def _refuses_to_continue(failures: Sequence[Failure], index: int) -> bool:
    """Return whether a provider did not like the request, which may be for the turn that was added to it."""
    errors = [failure.error for failure in failures if failure.index == index]
    return any(
        isinstance(error, ProviderRejected) and not isinstance(error, ProviderPolicy | ProviderModelMissing)
        for error in errors
    )


def _note_usage(provider: Provider, stream: CompletionStream, writer: Writer) -> None:
    """Note what this attempt has cost so far, as far as the provider said."""
    usage: dict[str, Any] = {"provider": provider.name, **(stream.usage or {})}
    writer.usage = usage
    writer.note(noted({writer.attempt: usage}))
