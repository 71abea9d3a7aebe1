"""Folds that the store refuses: counted each, logged once for each reason. Nothing else tells of their memory."""

import logging
from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry

from services.worker.upkeep.budget import Budget
from services.worker.writing.fold_failures import FoldFailures
from shared.errors import StoreDenied, StoreError, StoreFull
from shared.log import events
from shared.settings.settings import Settings
from shared.store.calls import Compact
from shared.store.memory.store import MemoryStore
from shared.store.replies import CompactReply
from shared.telemetry.metrics import Metrics
from tests.support.streams import append, begin, write
from tests.support.waiting import eventually

__all__ = ()

DENIED = "NOPERM this user has no permissions to run the 'xdel' command"


class Refusing(MemoryStore):
    """A store that folds nothing while `refusal` is set."""

    refusal: StoreError | None = None

    async def compact(self, calls: Sequence[Compact]) -> Sequence[CompactReply | Exception]:
        if self.refusal is None:
            return await super().compact(calls)
        return [self.refusal for _ in calls]


def counted(registry: CollectorRegistry, of: str) -> float | None:
    return registry.get_sample_value("tailrace_compaction_failures_total", {"of": of})


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name.endswith("fold_failures")]


def test_each_is_counted_and_each_reason_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    registry = CollectorRegistry()
    failures = FoldFailures(Metrics.on(registry), of="live")
    for failure in (
        StoreDenied(DENIED),
        StoreDenied(DENIED),
        StoreFull("OOM"),
        ValueError("a bug"),
        ValueError("a bug"),
    ):
        failures.note("s", failure)
    assert counted(registry, "live") == 5
    assert told(caplog) == [f"a live stream was not folded: {why}" for why in (DENIED, "OOM", "a bug")]


def test_after_a_fold_that_went_well_the_next_failure_is_news_again(caplog: pytest.LogCaptureFixture) -> None:
    failures = FoldFailures(Metrics.on(CollectorRegistry()), of="finished")
    failures.note("s", StoreDenied(DENIED))
    failures.clear()
    failures.note("s", StoreDenied(DENIED))
    assert len(told(caplog)) == 2


async def test_a_finished_stream_whose_fold_is_refused_is_told_and_folded_later(
    caplog: pytest.LogCaptureFixture,
) -> None:
    registry = CollectorRegistry()
    store = Refusing()
    budget = Budget(store, Settings(fold_after_s=0.001), Metrics.on(registry))
    stream_id = await begin(store)
    tail = await write(store, stream_id, "some", "words", "of", "an", "answer")
    await append(store, stream_id, [events.done("stop")], tail=tail)
    store.refusal = StoreDenied(DENIED)

    async def are_refused() -> bool:
        await budget.tidy()
        return counted(registry, "finished") == 2

    with caplog.at_level(logging.WARNING):
        await eventually(are_refused)
    assert told(caplog) == [f"a finished stream was not folded: {DENIED}"]
    store.refusal = None
    await budget.tidy()
    assert counted(registry, "finished") == 2
    assert registry.get_sample_value("tailrace_compactions_total", {"of": "finished"}) == 1
