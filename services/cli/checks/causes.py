"""One cause, one finding: what cannot work because something else does not is named with it, not beside it."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from services.cli.checks.finding import Finding

__all__ = ("by_cause",)

_OF_REDIS: Final = frozenset({"redis version", "eviction", "persistence", "memory", "functions", "clock"})
_OF_QUEUE: Final = frozenset({"queue", "workers"})


def by_cause(findings: Sequence[Finding], *, queue_is_apart: bool) -> list[Finding]:
    """Return the findings without those that follow from a Redis that does not answer."""
    broken = next((finding for finding in findings if finding.check == "redis" and finding.status == "failed"), None)
    if broken is None:
        return list(findings)
    follows = [each for each in findings if _follows(each, queue_is_apart=queue_is_apart)]
    if not follows:
        return list(findings)
    names = ", ".join(finding.check for finding in follows)
    told = replace(broken, detail=f"{broken.detail} (not looked at, or failing because of it: {names})")
    return [told if finding is broken else finding for finding in findings if finding not in follows]


def _follows(finding: Finding, *, queue_is_apart: bool) -> bool:
    if finding.check in _OF_REDIS:
        return True
    if finding.check in _OF_QUEUE:
        return not queue_is_apart
    # An edge that answers, but not that it is ready, waits for the same Redis; one that is silent has its own trouble.
    return finding.check.startswith("edge ") and finding.detail.startswith("not ready")
