"""Care of the queue: how long it is stands in the metrics, and what was stuck there is counted and said."""

import logging
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from services.worker.upkeep.tending import Tending
from shared.queue.jobs import JobQueue, QueueState
from shared.settings.settings import Settings
from shared.telemetry.metrics import Metrics

__all__ = ()


class Told:
    """A queue that is in the states of a list, one after the other."""

    def __init__(self, *states: QueueState) -> None:
        self._states = list(states)

    async def tend(self) -> QueueState:
        return self._states.pop(0)


async def test_metrics_and_the_log_show_what_was_stuck(caplog: pytest.LogCaptureFixture) -> None:
    registry = CollectorRegistry()
    queue = Told(QueueState(jobs=300, held=20, stuck=7, wait_ms=2_500), QueueState(jobs=2, held=0, stuck=0, wait_ms=0))
    tending = Tending(cast("JobQueue", queue), Settings(), Metrics.on(registry))

    def jobs(of: str) -> float | None:
        return registry.get_sample_value("tailrace_queue_jobs", {"of": of})

    with caplog.at_level(logging.WARNING):
        await tending.tend()
        assert [jobs(of) for of in ("queued", "held", "stuck")] == [300, 20, 7]
        assert registry.get_sample_value("tailrace_queue_wait_seconds") == 2.5
        await tending.tend()
    assert [jobs(of) for of in ("queued", "held", "stuck")] == [2, 0, 0]
    assert registry.get_sample_value("tailrace_queue_freed_total") == 7
    assert [record.getMessage() for record in caplog.records] == ["7 jobs were stuck in the queue and are free again"]
