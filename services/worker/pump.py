"""From a claimed stream to its terminal event: ask the provider, hand its events on, and say how it ended."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from services.worker.interruption import Interruption
from services.worker.provider import CompletionRequest, CompletionStream, Provider
from services.worker.writer import Writer
from shared.errors import ProviderError, TailraceError, UnknownModel
from shared.events import CANCELLED, Event, done, error, json_line
from shared.telemetry import Metrics

__all__ = ("Ending", "Pump")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ending:
    """The terminal event, and what meta is to say about it."""

    event: Event
    updates: dict[str, str | int | bytes] = field(default_factory=dict)


class Pump:
    """Pumps one request into one writer. Providers are tried in order until one has begun to answer."""

    def __init__(self, providers: Sequence[Provider], metrics: Metrics) -> None:
        self._providers = providers
        self._metrics = metrics

    async def run(self, request: CompletionRequest, writer: Writer) -> Ending:
        """Hand everything that the provider gives to the writer; the ending is the caller's to write. Raises `Lost`."""
        failure: TailraceError = UnknownModel()
        for provider in self._providers:
            stream = provider.stream(request)
            produced = writer.produced
            try:
                with Interruption(writer):
                    await self._pour(provider, stream, writer)
                return _finished(stream, writer)
            except ProviderError as problem:
                failure = problem
                where = {"stream": writer.id, "provider": provider.name}
                logger.warning("provider failed: %s", problem.code, extra=where)
                if writer.produced > produced or not problem.retryable:
                    return _failed(failure, stream.usage)
            finally:
                await stream.aclose()
        return _failed(failure, None)

    async def _pour(self, provider: Provider, stream: CompletionStream, writer: Writer) -> None:
        asked = time.monotonic()
        chunks = self._metrics.provider_chunks.labels(provider=provider.name)
        await stream.open()
        is_first = True
        while (events := await stream.read()) is not None:
            if is_first:
                is_first = False
                writer.note({"provider": provider.name})
                self._metrics.time_to_first_token.observe(time.monotonic() - asked)
            chunks.inc(len(events))
            writer.add(events)
            await writer.room()


def _finished(stream: CompletionStream, writer: Writer) -> Ending:
    usage = _usage(stream.usage)
    if writer.is_stopped or stream.outcome is None:
        return Ending(CANCELLED, usage)
    reason = stream.outcome.finish_reason
    return Ending(done(reason), {"finish_reason": reason, **usage})


def _failed(failure: TailraceError, usage: dict[str, int] | None) -> Ending:
    event = error(failure.code, failure.text, retryable=failure.retryable)
    return Ending(event, {"error": event.value, **_usage(usage)})


def _usage(usage: dict[str, int] | None) -> dict[str, str | int | bytes]:
    return {"usage": json_line(usage)} if usage else {}
