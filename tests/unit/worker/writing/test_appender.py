"""When an appender sends: how long deltas gather under load, and for whom they do not wait. In virtual time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from prometheus_client import CollectorRegistry

from services.worker.writing.appender import Appender
from services.worker.writing.compactor import Compactor
from services.worker.writing.writer import Lost, Writer
from shared.errors import StoreUnavailable
from shared.log.events import delta
from shared.settings.settings import Settings
from shared.store.calls import Append
from shared.store.replies import Appended, AppendReply, Fenced
from shared.store.store import Store
from shared.telemetry.metrics import APPEND_ANSWERS, APPEND_FAILED, Metrics
from tests.sim.clockwork import VirtualLoop

__all__ = ()

WINDOW_S = 0.008
ENOUGH = 100


class PromptStore:
    """Says yes to every append at once, and keeps how many came together."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    async def append(self, appends: Sequence[Append], _: object) -> list[Appended]:
        self.batches.append(len(appends))
        return [Appended(append.tail + sum(event.size for event in append.events)) for append in appends]


class Load:
    """An appender that has sent all it may send at once after a calm, so that deltas gather."""

    def __init__(self, appender: Appender, store: PromptStore) -> None:
        self.batches = store.batches
        self._appender = appender

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    def writer(self, *, tail: int = 1) -> Writer:
        return self._appender.open("0" * 32, attempt=1, nonce="a" * 8, tail=tail)

    def writers(self, number: int) -> list[Writer]:
        return [self.writer() for _ in range(number)]

    async def begin(self) -> None:
        """Leaves just after a turn, so that the next one is over a whole turn later."""
        began, writer = self.now, self.writer()
        while self.now == began:
            speak(writer)
            await writer.flushed()
        self.batches.clear()


def speak(*writers: Writer) -> None:
    for writer in writers:
        writer.add([delta("text", "x")])


async def flushed(*writers: Writer) -> None:
    for writer in writers:
        await writer.flushed()


@asynccontextmanager
async def loaded(settings: Settings) -> AsyncIterator[Load]:
    store, metrics = PromptStore(), Metrics.on(CollectorRegistry())
    as_store = cast("Store", store)
    appender = Appender(as_store, Compactor(as_store, settings, metrics), settings, metrics)
    running = asyncio.get_running_loop().create_task(appender.run())
    load = Load(appender, store)
    try:
        await load.begin()
        yield load
    finally:
        running.cancel()
        await asyncio.wait([running])


class TornStore:
    """Answers the first append with an error, all later ones with a fence."""

    def __init__(self) -> None:
        self._replies: list[AppendReply | Exception] = [StoreUnavailable()]

    async def append(self, appends: Sequence[Append], _: object) -> list[AppendReply | Exception]:
        reply = self._replies.pop(0) if self._replies else Fenced(2)
        return [reply for _ in appends]


async def count_of_answers(store: TornStore) -> dict[str, float]:
    """How often each answer was counted until a writer was told that its stream is lost."""
    settings, registry = Settings(), CollectorRegistry()
    as_store, metrics = cast("Store", store), Metrics.on(registry)
    appender = Appender(as_store, Compactor(as_store, settings, metrics), settings, metrics)
    running = asyncio.get_running_loop().create_task(appender.run())
    writer = appender.open("0" * 32, attempt=1, nonce="a" * 8, tail=0)
    speak(writer)
    with pytest.raises(Lost):
        await writer.flushed()
    running.cancel()
    await asyncio.wait([running])
    words = (*APPEND_ANSWERS.values(), APPEND_FAILED)
    return {word: registry.get_sample_value("tailrace_appends_total", {"answer": word}) or 0 for word in words}


def test_answers_are_counted_in_the_words_of_the_table() -> None:
    loop = VirtualLoop(most_s=60.0)
    try:
        counts = loop.run_until_complete(count_of_answers(TornStore()))
    finally:
        loop.close()
    assert counts == {"ok": 0, "tail": 0, "fenced": 1, "closed": 0, "gone": 0, "failed": 1}


def under_load(scene: Callable[[Load], Coroutine[Any, Any, None]], **settings: Any) -> None:
    """Play a scene in a loop whose time only passes by waiting."""

    async def play() -> None:
        async with loaded(Settings(**settings)) as load:
            await scene(load)

    loop = VirtualLoop(most_s=60.0)
    try:
        loop.run_until_complete(play())
    finally:
        loop.close()


def test_fewer_than_are_enough_wait_for_the_end_of_the_window() -> None:
    async def scene(load: Load) -> None:
        began, writers = load.now, load.writers(ENOUGH - 1)
        speak(*writers)
        await flushed(*writers)
        assert load.now - began == pytest.approx(WINDOW_S)
        assert load.batches == [ENOUGH - 1]

    under_load(scene)


def test_the_hundredth_writer_ends_the_window() -> None:
    async def scene(load: Load) -> None:
        began, writers = load.now, load.writers(ENOUGH)
        speak(*writers[:-1])
        await asyncio.sleep(WINDOW_S / 4)
        assert load.batches == []
        speak(writers[-1])
        await flushed(*writers)
        assert load.now - began == pytest.approx(WINDOW_S / 4)
        assert load.batches == [ENOUGH]

    under_load(scene)


def test_it_is_writers_that_are_counted_and_not_what_they_say() -> None:
    async def scene(load: Load) -> None:
        began, (writer,) = load.now, load.writers(1)
        for _ in range(2 * ENOUGH):
            speak(writer)
        await flushed(writer)
        assert load.now - began == pytest.approx(WINDOW_S)
        assert load.batches == [1]

    under_load(scene)


def test_a_first_token_takes_along_what_has_gathered() -> None:
    async def scene(load: Load) -> None:
        began, waiting, new = load.now, load.writers(2), load.writer(tail=0)
        speak(*waiting)
        await asyncio.sleep(WINDOW_S / 4)
        speak(new)
        await flushed(new, *waiting)
        assert load.now - began == pytest.approx(WINDOW_S / 4)
        assert load.batches == [3]

    under_load(scene)


@pytest.mark.parametrize("tail", [0, 1], ids=["a first token", "the hundredth writer"])
def test_turns_that_ended_early_make_no_later_one_longer(tail: int) -> None:
    async def scene(load: Load) -> None:
        waiting = load.writers(ENOUGH - 1)
        for _ in range(50):
            last = load.writer(tail=tail)
            speak(*waiting)
            await asyncio.sleep(WINDOW_S / 4)
            speak(last)
            await flushed(*waiting, last)
        began = load.now
        speak(waiting[0])
        await flushed(waiting[0])
        assert load.now - began == pytest.approx(WINDOW_S)
        assert load.batches == [*[ENOUGH] * 50, 1]

    under_load(scene)


def test_whoever_is_told_to_wait_waits_for_no_number_of_writers() -> None:
    """`flush_ms` is a promise about how often a stream's log grows."""

    async def scene(load: Load) -> None:
        began, writers = load.now, load.writers(2 * ENOUGH)
        speak(*writers)
        await flushed(*writers)
        assert load.now - began == pytest.approx(0.05)
        assert load.batches == [2 * ENOUGH]

    under_load(scene, flush_ms=50)
