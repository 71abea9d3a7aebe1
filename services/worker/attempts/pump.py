"""From an open attempt to the end of its answer: ask providers until one answers, and hand its events on."""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from prometheus_client import Counter

from services.worker.attempts.continuation import Continuing
from services.worker.attempts.failover import Retry, after_failure
from services.worker.attempts.stop_scope import StopScope
from services.worker.providers.provider import CompletionRequest, CompletionStream, Pouring, Provider
from services.worker.writing.writer import Writer
from shared.errors import ProviderError, TailraceError, UnknownModel
from shared.log.events import Event
from shared.log.tokens import noted
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

    `index` is the provider that failed last.
    """

    error: TailraceError
    has_begun: bool = False
    index: int = 0


Outcome = Answered | Stopped | Broken


class Pump:
    """Pumps one attempt. Providers are asked in turn, beginning with number `first`."""

    def __init__(self, providers: Sequence[Provider], *, max_tries: int, metrics: Metrics, first: int = 0) -> None:
        self._providers = providers
        self._max_tries = max_tries
        self._metrics = metrics
        self._first = first

    async def run(self, request: CompletionRequest, writer: Writer, continuing: Continuing | None = None) -> Outcome:
        """Everything that came has been handed to the writer. The ending, whatever it is, is the caller's to write."""
        if not self._providers:
            return Broken(UnknownModel())
        index, tries = self._first % len(self._providers), 1
        while True:
            provider, produced = self._providers[index], writer.produced
            try:
                return await self._ask(provider, request, writer, continuing)
            except ProviderError as error:
                where = {"stream": writer.id, "attempt": writer.attempt, "provider": provider.name}
                logger.warning("provider failed: %s", error.code, extra=where)
                if writer.produced > produced:
                    return Broken(error, has_begun=True, index=index)
                step = after_failure(
                    error, index=index, providers=len(self._providers), tries=tries, max_tries=self._max_tries
                )
                if not isinstance(step, Retry):
                    return Broken(error, index=index)
                with StopScope(writer) as scope:
                    await asyncio.sleep(step.pause_s)
                if scope.happened:
                    return Stopped()
                index, tries = step.index, tries + 1

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
        # What continues an answer is compared with its beginning, read by read.
        pouring = stream if continuing is None and isinstance(stream, Pouring) else None
        is_first = True
        try:
            while (events := await stream.read()) is not None:
                if is_first:
                    is_first = False
                    self._metrics.time_to_first_token.observe(time.monotonic() - asked)
                    writer.note({"provider": provider.name})
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


def _note_usage(provider: Provider, stream: CompletionStream, writer: Writer) -> None:
    """What this attempt has cost so far, as far as the provider said."""
    usage: dict[str, Any] = {"provider": provider.name, **(stream.usage or {})}
    writer.usage = usage
    writer.note(noted({writer.attempt: usage}))
