"""One cause, one finding: what cannot work because something else does not is named with it, not beside it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from services.cli.checks.finding import Finding

__all__ = ("by_cause",)

_OF_REDIS: Final = frozenset({"redis version", "eviction", "persistence", "memory", "functions", "clock"})
_OF_QUEUE: Final = frozenset({"queue", "workers"})


def by_cause(findings: Sequence[Finding], *, queue_is_apart: bool) -> list[Finding]:
    """Return the findings without those that follow from another: a Redis that is away, a queue, no worker."""
    found = _told_with("redis", "failed", findings, lambda each: _needs_redis(each, queue_is_apart=queue_is_apart))
    found = _told_with("queue", "failed", found, lambda each: each.check == "workers")
    return _told_with("workers", "warning", found, _waits_for_workers)


def _told_with(
    check: str, status: str, findings: Sequence[Finding], follows: Callable[[Finding], bool]
) -> list[Finding]:
    """Name what follows from this check, if it has this status, in its own finding."""
    cause = next((each for each in findings if (each.check, each.status) == (check, status)), None)
    if cause is None:
        return list(findings)
    effects = [each for each in findings if follows(each)]
    if not effects:
        return list(findings)
    names = ", ".join(each.check for each in effects)
    told = replace(cause, detail=f"{cause.detail} (not looked at, or in trouble because of it: {names})")
    return [told if each is cause else each for each in findings if each not in effects]


def _waits_for_workers(finding: Finding) -> bool:
    """Jobs that are stuck have a cause of their own; those that only wait have none but a worker that is missing."""
    return finding.check == "queue" and finding.status == "warning" and "stuck" not in finding.detail


def _needs_redis(finding: Finding, *, queue_is_apart: bool) -> bool:
    if finding.check in _OF_REDIS:
        return True
    if finding.check in _OF_QUEUE:
        return not queue_is_apart
    # An edge that answers, but not that it is ready, waits for the same Redis; one that is silent has its own trouble.
    return finding.check.startswith("edge ") and finding.detail.startswith("not ready")
