"""Growing pauses between tries, spread out so that those who failed together do not come back together."""

import random

__all__ = ("Backoff", "growing_s", "jittered_s")

# 2 to this power is beyond every bound in use.
_MOST_DOUBLINGS = 16


def growing_s(failures: int, *, first_s: float, most_s: float) -> float:
    """Return the longest pause after `failures` failures before this one: doubling from `first_s`, at most `most_s`."""
    return min(first_s * 2.0 ** min(failures, _MOST_DOUBLINGS), most_s)


def jittered_s(seconds: float) -> float:
    """Return a random part of `seconds`, at least half of it."""
    return seconds * random.uniform(0.5, 1.0)


class Backoff:
    """The pauses of one task that tries again, from `first_s` to `most_s` seconds, until `reset`."""

    __slots__ = ("_failures", "_first_s", "_most_s")

    def __init__(self, first_s: float, most_s: float) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._failures = 0

    def __repr__(self) -> str:
        return f"<Backoff after {self._failures} failures>"

    @property
    def is_pausing(self) -> bool:
        """Return whether something has failed since the last success."""
        return self._failures > 0

    def next_s(self) -> float:
        """Return how many seconds to pause after one more failure."""
        pause_s = growing_s(self._failures, first_s=self._first_s, most_s=self._most_s)
        self._failures += 1
        return jittered_s(pause_s)

    def reset(self) -> None:
        """Begin again with the first pause: something has succeeded."""
        self._failures = 0
