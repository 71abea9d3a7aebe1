"""One cause is one finding."""

from services.cli.checks.causes import by_cause
from services.cli.checks.finding import Finding, failed, ok, skipped, warning

__all__ = ()


def names(findings: list[Finding]) -> list[str]:
    return [finding.check for finding in findings]


def test_what_works_is_left_as_it_is() -> None:
    findings = [ok("redis", "answers"), ok("queue", "answers"), warning("memory", "near", "more")]
    assert by_cause(findings, queue_is_apart=False) == findings


def test_a_redis_that_is_away_is_the_one_finding() -> None:
    findings = [
        failed("redis", "no answer", "start it"),
        skipped("memory", "needs Redis"),
        failed("queue", "no answer", "start it"),
        skipped("workers", "needs the queue"),
        failed("edge http://a", "not ready (503)", "…"),
        failed("edge http://b", "no answer", "…"),
        failed("provider p", "no answer", "…"),
    ]
    found = by_cause(findings, queue_is_apart=False)
    assert names(found) == ["redis", "edge http://b", "provider p"]
    assert "memory, queue, workers, edge http://a" in found[0].detail


def test_a_queue_elsewhere_is_a_cause_of_its_own() -> None:
    findings = [failed("redis", "x", "y"), failed("queue", "x", "y"), skipped("workers", "needs the queue")]
    assert names(by_cause(findings, queue_is_apart=True)) == ["redis", "queue"]


def test_jobs_that_wait_because_nobody_works_are_told_with_the_workers() -> None:
    findings = [warning("queue", "2 jobs wait", "more workers"), warning("workers", "none is running", "tailrace up")]
    (found,) = by_cause(findings, queue_is_apart=False)
    assert found.check == "workers"
    assert "queue" in found.detail
    stuck = warning("queue", "2 jobs wait for a worker, 1 of them are stuck", "a worker frees them")
    assert names(by_cause([stuck, findings[1]], queue_is_apart=False)) == ["queue", "workers"]
