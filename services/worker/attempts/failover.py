"""What to do after a provider has failed. Pure: decides by the kind of failure, how often, and who else there is.

Two cases that look alike are kept apart. Before the first event of an attempt another request is invisible to readers.
After it, another request is another attempt: it needs a fence, and either continues the text or starts over.
"""

import random
from dataclasses import dataclass

from shared.errors import ProviderAuth, ProviderError, ProviderMalformed, ProviderRateLimited, ProviderRejected

__all__ = ("GiveUp", "NextStep", "Retry", "after_failure")

_FIRST_PAUSE_S, _MOST_PAUSE_S = 0.5, 5.0
# A provider that asks for a longer pause is as good as down; the caller may come back by itself.
_MOST_RETRY_AFTER_S = 30.0


@dataclass(frozen=True, slots=True)
class Retry:
    """Ask provider number `index` next, after a pause."""

    index: int
    pause_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The failure is the stream's ending."""


NextStep = Retry | GiveUp


def after_failure(
    error: ProviderError, *, index: int, providers: int, tries: int, max_tries: int, jitter: float | None = None
) -> NextStep:
    """The next step after provider `index` of `providers` failed at try number `tries` (from 1).

    Providers are asked in turn. The first pass over them goes without a pause, since each is new; then pauses grow.
    A provider that refuses our key or the request itself is not asked again.
    """
    if isinstance(error, ProviderRejected) or tries >= max_tries:
        return GiveUp()
    following = (index + 1) % providers
    # What is malformed is so by nature: the same provider would be asked, and paid, for the same again.
    if following == index and isinstance(error, ProviderAuth | ProviderMalformed):
        return GiveUp()
    if tries < providers:
        return Retry(following, 0.0)
    if isinstance(error, ProviderRateLimited) and error.retry_after_s is not None:
        if error.retry_after_s > _MOST_RETRY_AFTER_S:
            return GiveUp()
        return Retry(following, error.retry_after_s)
    factor = random.uniform(0.5, 1.0) if jitter is None else jitter
    return Retry(following, min(_FIRST_PAUSE_S * 2 ** (tries - providers), _MOST_PAUSE_S) * factor)
