"""What follows a provider's failure, row by row."""

import pytest

from services.worker.attempts.failover import GiveUp, NextStep, Retry, after_failure
from shared.errors import (
    ProviderAuth,
    ProviderError,
    ProviderFailed,
    ProviderMalformed,
    ProviderRateLimited,
    ProviderRejected,
    ProviderStalled,
    ProviderUnreachable,
)

__all__ = ()


@pytest.mark.parametrize(
    ("error", "index", "providers", "tries", "expected"),
    [
        # The first pass over the providers takes no time.
        (ProviderUnreachable(), 0, 3, 1, Retry(1, 0.0)),
        (ProviderStalled(), 1, 3, 2, Retry(2, 0.0)),
        (ProviderRateLimited(retry_after_s=20), 0, 2, 1, Retry(1, 0.0)),
        (ProviderAuth(), 0, 2, 1, Retry(1, 0.0)),
        # Later passes back off, and wrap around.
        (ProviderFailed(), 0, 1, 1, Retry(0, 0.5)),
        (ProviderFailed(), 0, 1, 3, Retry(0, 2.0)),
        (ProviderFailed(), 1, 2, 2, Retry(0, 0.5)),
        # A provider that names its pause gets it, within reason.
        (ProviderRateLimited(retry_after_s=7), 0, 1, 1, Retry(0, 7)),
        (ProviderRateLimited(retry_after_s=3600), 0, 1, 1, GiveUp()),
        (ProviderRateLimited(), 0, 1, 1, Retry(0, 0.5)),
        # What repetition cannot help.
        (ProviderRejected(), 0, 3, 1, GiveUp()),
        (ProviderAuth(), 0, 1, 1, GiveUp()),
        (ProviderMalformed(), 0, 1, 1, GiveUp()),
        (ProviderMalformed(), 0, 2, 1, Retry(1, 0.0)),
        (ProviderUnreachable(), 0, 1, 4, GiveUp()),
    ],
)
def test_next_step(error: ProviderError, index: int, providers: int, tries: int, expected: NextStep) -> None:
    step = after_failure(error, index=index, providers=providers, tries=tries, max_tries=4, jitter=1.0)

    assert step == expected
