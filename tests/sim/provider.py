"""A provider without sockets: what it says is the same pure function as the scripted one's; how it fails is seeded."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice

from services.worker.providers.provider import CompletionRequest, Outcome
from shared.errors import ProviderFailed, ProviderStalled, ProviderTruncated
from shared.log.events import Event, delta
from shared.settings.providers import ProviderSettings
from tests.support.script import Script, Step, expected_text, prefix_of, script_of, steps

__all__ = ("SimProvider",)

_FAILURES = (ProviderFailed, ProviderTruncated, ProviderStalled)


class SimProvider:
    """`Provider` for all scripts. Each read waits about `pace_s`; with probability `failing` it fails instead."""

    def __init__(self, settings: ProviderSettings, chance: random.Random, *, pace_s: float, failing: float) -> None:
        self.settings = settings
        self.requests: Counter[str] = Counter()
        self.chance = chance
        self.pace_s = pace_s
        self.failing = failing

    @property
    def name(self) -> str:
        return self.settings.name

    def stream(self, request: CompletionRequest) -> "SimStream":
        return SimStream(self, request)

    async def probe(self) -> None:
        return None


class SimStream:
    """One answer."""

    def __init__(self, provider: SimProvider, request: CompletionRequest) -> None:
        self.has_begun = False
        self.usage: dict[str, int] | None = None
        self.outcome: Outcome | None = None
        self.unknown: dict[str, int] = {}
        self._provider = provider
        self._request = request
        self._steps: Iterator[Step] = iter(())
        self._is_closed = False

    async def open(self) -> None:
        await self._wait()
        script = script_of(self._request.messages)
        assert script is not None
        said = prefix_of(self._request.messages)
        number = self._provider.requests[script.key]
        self._provider.requests[script.key] += 1
        attempt, said = _continued(script, said, number)
        self._steps = steps(script, attempt=attempt, said=said)

    async def read(self) -> Sequence[Event] | None:
        if self.outcome is not None:
            return None
        await self._wait()
        events = [delta(step.kind, step.text) for step in islice(self._steps, self._some())]
        if events:
            self.has_begun = True
            return events
        self.usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        self.outcome = Outcome("stop", self.usage)
        return None

    async def aclose(self) -> None:
        self._is_closed = True

    def _some(self) -> int:
        return self._provider.chance.randint(1, 2)

    async def _wait(self) -> None:
        await asyncio.sleep(self._provider.pace_s * self._provider.chance.expovariate(1))
        if self._is_closed or self._provider.chance.random() < self._provider.failing:
            raise self._provider.chance.choice(_FAILURES)


def _continued(script: Script, said: str, number: int) -> tuple[int, str]:
    """Whose text is continued, and all of it so far; a new answer is an attempt of its own.

    A log whose oldest blocks were trimmed away offers the end of its text only.
    """
    for attempt in range(number) if said else ():
        text = expected_text(script, attempt=attempt)
        if said in text:
            return attempt, text[: text.index(said) + len(said)]
    return number, said
