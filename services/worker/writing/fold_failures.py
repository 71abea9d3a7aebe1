"""Folds that the store has refused: counted each, and logged once for each reason."""

import logging

from shared.errors import StoreError
from shared.telemetry.metrics import Metrics

__all__ = ("FoldFailures",)

logger = logging.getLogger(__name__)


class FoldFailures:
    """The failures of folding in one process. A log that is not folded takes memory, and nothing else reports it."""

    def __init__(self, metrics: Metrics, *, of: str) -> None:
        self._failures = metrics.compaction_failures.labels(of=of)
        self._of = of
        self._told = ""

    def note(self, stream_id: str, failure: Exception) -> None:
        self._failures.inc()
        reason = failure.code if isinstance(failure, StoreError) else "internal"
        if reason != self._told:
            self._told = reason
            logger.warning("a %s stream was not folded: %s", self._of, failure, extra={"stream": stream_id})

    def clear(self) -> None:
        """A fold went well: the next failure is news again."""
        self._told = ""
