"""What follows a provider's failure, row by row."""

import pytest

from services.worker.attempts.failover import Failure, GiveUp, NextStep, Retry, after_failure, most_useful, ruled_out
from shared.errors import (
    ProviderAuth,
    ProviderError,
    ProviderFailed,
    ProviderMalformed,
    ProviderModelMissing,
    ProviderMoved,
    ProviderPolicy,
    ProviderQuota,
    ProviderRateLimited,
    ProviderRejected,
    ProviderStalled,
    ProviderTooLong,
    ProviderUnreachable,
    ProviderUnsupported,
)

__all__ = ()

Row = tuple[int, ProviderError]


def next_step(*rows: Row, providers: int, policy_failover: bool = False) -> NextStep:
    failures = [Failure(index, error) for index, error in rows]
    return after_failure(failures, providers=providers, max_tries=4, policy_failover=policy_failover, jitter=1.0)


def repeated(error: ProviderError, *, providers: int, times: int) -> list[Row]:
    return [(number % providers, error) for number in range(times)]


@pytest.mark.parametrize(
    ("error", "providers", "tries", "expected"),
    [
        # The first pass over the providers takes no time.
        (ProviderUnreachable(), 3, 1, Retry(1, 0.0)),
        (ProviderStalled(), 3, 2, Retry(2, 0.0)),
        (ProviderRateLimited(retry_after_s=20), 2, 1, Retry(1, 0.0)),
        (ProviderAuth(), 2, 1, Retry(1, 0.0)),
        # Later passes back off, and wrap around.
        (ProviderFailed(), 1, 1, Retry(0, 0.5)),
        (ProviderFailed(), 1, 3, Retry(0, 2.0)),
        (ProviderFailed(), 2, 2, Retry(0, 0.5)),
        # A provider that names its pause gets it, within reason, whatever its failure.
        (ProviderRateLimited(retry_after_s=7), 1, 1, Retry(0, 7)),
        (ProviderFailed(retry_after_s=7), 1, 1, Retry(0, 7)),
        (ProviderRateLimited(), 1, 1, Retry(0, 0.5)),
        # What any provider would refuse.
        (ProviderRejected(), 3, 1, None),
        (ProviderPolicy(), 3, 1, None),
        (ProviderUnreachable(), 1, 4, None),
        (ProviderRateLimited(retry_after_s=3600), 1, 1, None),
    ],
)
def test_next_step(error: ProviderError, providers: int, tries: int, expected: NextStep | None) -> None:
    step = next_step(*repeated(error, providers=providers, times=tries), providers=providers)

    assert step == (expected or GiveUp(error))


@pytest.mark.parametrize(
    "kind",
    [
        ProviderAuth,
        ProviderQuota,
        ProviderModelMissing,
        ProviderTooLong,
        ProviderUnsupported,
        ProviderMoved,
        ProviderMalformed,
    ],
)
def test_what_concerns_one_provider_is_asked_of_the_next_but_of_none_twice(kind: type[ProviderError]) -> None:
    error, busy = kind(), ProviderFailed()

    assert next_step((0, error), providers=1) == GiveUp(error)
    assert next_step((0, error), providers=2) == Retry(1, 0.0)
    assert next_step((0, error), (1, busy), providers=2) == Retry(1, 0.5)
    assert next_step((0, error), (1, busy), (1, busy), providers=2) == Retry(1, 1.0)
    step = next_step((0, error), (1, last := kind()), providers=2)
    assert step == GiveUp(last)


def test_the_one_whose_pause_ends_first_is_asked_and_each_gets_its_pause() -> None:
    failures = [Failure(0, ProviderRateLimited(retry_after_s=20), 100.0), Failure(1, ProviderFailed(), 101.0)]
    step = after_failure(failures, providers=2, max_tries=8, jitter=1.0)
    assert step == Retry(1, 0.5)

    failures += [Failure(1, ProviderRateLimited(retry_after_s=25), 102.0)]
    assert after_failure(failures, providers=2, max_tries=8, jitter=1.0) == Retry(0, 18.0)


def test_a_provider_that_wants_to_be_left_alone_for_long_is_left_alone() -> None:
    step = next_step((0, ProviderRateLimited(retry_after_s=3600)), (1, ProviderFailed()), providers=2)

    assert step == Retry(1, 0.5)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ProviderFailed(should_retry=False), None),
        (ProviderRateLimited(should_retry=False, retry_after_s=1), None),
        (ProviderRejected(should_retry=True), Retry(0, 0.5)),
        (ProviderAuth(should_retry=True, retry_after_s=2), Retry(0, 2)),
    ],
)
def test_a_provider_s_own_word_counts_more(error: ProviderError, expected: NextStep | None) -> None:
    assert next_step((0, error), providers=1) == (expected or GiveUp(error))


def test_policy_is_asked_of_another_only_if_the_operator_says_so() -> None:
    refused = ProviderPolicy()
    assert next_step((0, refused), providers=2) == GiveUp(refused)
    assert next_step((0, refused), providers=2, policy_failover=True) == Retry(1, 0.0)
    assert next_step((0, refused), (1, refused), providers=2, policy_failover=True) == GiveUp(refused)


@pytest.mark.parametrize(
    ("errors", "told"),
    [
        ([ProviderAuth, ProviderRateLimited], ProviderRateLimited),
        ([ProviderRateLimited, ProviderAuth], ProviderRateLimited),
        ([ProviderAuth, ProviderTooLong], ProviderTooLong),
        ([ProviderTooLong, ProviderAuth, ProviderQuota], ProviderTooLong),
        ([ProviderUnsupported, ProviderModelMissing], ProviderUnsupported),
        ([ProviderMoved, ProviderAuth, ProviderQuota], ProviderQuota),
        ([ProviderStalled, ProviderFailed], ProviderFailed),
    ],
)
def test_the_most_useful_error_is_told(errors: list[type[ProviderError]], told: type[ProviderError]) -> None:
    assert type(most_useful([Failure(index, kind()) for index, kind in enumerate(errors)])) is told


def test_a_rejection_of_the_request_is_told_whatever_came_before() -> None:
    error = ProviderRejected()
    assert next_step((0, ProviderFailed()), (1, error), providers=3) == GiveUp(error)


def test_who_is_ruled_out() -> None:
    failures = [Failure(0, ProviderAuth()), Failure(1, ProviderFailed()), Failure(2, ProviderFailed(retry_after_s=60))]
    assert ruled_out(failures) == {0, 2}
