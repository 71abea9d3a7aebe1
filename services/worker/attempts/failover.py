"""The decision after a provider has failed. Pure: it depends on all failures of this attempt and on who is left.

Two cases that look alike are kept apart. Before the first event of an attempt another request is invisible to readers.
After it, another request is another attempt: it needs a fence, and either continues the text or starts over.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from shared.backoff import growing_s, jittered_s
from shared.errors import (
    ProviderAuth,
    ProviderError,
    ProviderModelMissing,
    ProviderMoved,
    ProviderPolicy,
    ProviderQuota,
    ProviderRejected,
    ProviderTooLong,
    ProviderUnsupported,
)

__all__ = ("Failure", "GiveUp", "NextStep", "Retry", "after_failure", "most_useful", "ruled_out")

_FIRST_PAUSE_S, _MOST_PAUSE_S = 0.5, 5.0
# A provider that asks for a longer pause is as good as down; the caller may come back by itself.
_MOST_RETRY_AFTER_S = 30.0

# What to tell when everybody refused for good, best first: what the caller can mend, then what the operator can.
_BY_USE: Final[tuple[type[ProviderError], ...]] = (
    ProviderPolicy,
    ProviderTooLong,
    ProviderUnsupported,
    ProviderModelMissing,
    ProviderRejected,
    ProviderQuota,
    ProviderAuth,
    ProviderMoved,
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Provider number `index` failed at `at_s`, on any clock that all failures of an attempt share."""

    index: int
    error: ProviderError
    at_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Retry:
    """Ask provider number `index` next, after a pause."""

    index: int
    pause_s: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The stream ends with `error`, of all failures the one that helps most."""

    error: ProviderError


NextStep = Retry | GiveUp


def after_failure(
    failures: Sequence[Failure],
    *,
    providers: int,
    max_tries: int,
    policy_failover: bool = False,
    jitter: float | None = None,
) -> NextStep:
    """The next step after the last of these failures, of an attempt that has `providers`.

    Providers are asked in turn. The first pass over them goes without a pause, since each is new; then the one whose
    pause ends first is asked. One that refused our key, our account, the model or the request is not asked again, nor
    one that wants to be left alone for long. What any provider would refuse ends the attempt.
    """
    last = failures[-1]
    if not _concerns_one(last.error, policy_failover=policy_failover):
        return GiveUp(last.error)
    if len(failures) >= max_tries:
        return GiveUp(most_useful(failures))
    turns = [(last.index + step) % providers for step in range(1, providers + 1)]
    asked = {failure.index for failure in failures}
    fresh = [index for index in turns if index not in asked]
    if fresh:
        return Retry(fresh[0], 0.0)
    out = ruled_out(failures)
    due_s = {index: _due_s(index, failures, jitter=jitter) for index in turns if index not in out}
    if not due_s:
        return GiveUp(most_useful(failures))
    soonest = min(due_s, key=lambda index: due_s[index])
    return Retry(soonest, max(0.0, due_s[soonest] - last.at_s))


def ruled_out(failures: Sequence[Failure]) -> frozenset[int]:
    """The providers that need not be asked again in this attempt."""
    return frozenset(failure.index for failure in failures if _is_final(failure.error))


def most_useful(failures: Sequence[Failure]) -> ProviderError:
    """The error to tell of all: the last that may pass, else what the caller can mend before what it cannot."""
    passing = [failure.error for failure in failures if failure.error.retryable]
    if passing:
        return passing[-1]
    return min((failure.error for failure in reversed(failures)), key=_rank)


def _concerns_one(error: ProviderError, *, policy_failover: bool) -> bool:
    """Return whether another provider, or the same one later, may do better."""
    if isinstance(error, ProviderPolicy):
        return policy_failover
    return error.asks_others or error.may_be_asked_again


def _is_final(error: ProviderError) -> bool:
    return not error.may_be_asked_again or (error.retry_after_s or 0) > _MOST_RETRY_AFTER_S


def _due_s(index: int, failures: Sequence[Failure], *, jitter: float | None) -> float:
    """Return the time at which a provider may be asked again."""
    own = [failure for failure in failures if failure.index == index]
    last = own[-1]
    if last.error.retry_after_s is not None:
        return last.at_s + last.error.retry_after_s
    pause_s = growing_s(len(own) - 1, first_s=_FIRST_PAUSE_S, most_s=_MOST_PAUSE_S)
    return last.at_s + (jittered_s(pause_s) if jitter is None else pause_s * jitter)


def _rank(error: ProviderError) -> int:
    return _BY_USE.index(type(error)) if type(error) in _BY_USE else len(_BY_USE)
