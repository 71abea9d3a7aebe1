"""The choice of the next edge, and the wait before it is asked."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import urlsplit

from tailrace.errors import ClientError

__all__ = ("Edges", "Patience", "is_edge_url")

_BACKOFF_S: Final = 0.25
_LONGEST_BACKOFF_S: Final = 8.0
# Some 40 s: longer than a rolling restart of one edge.
_TRIES_ONCE_ANSWERED: Final = 12


def is_edge_url(url: str) -> bool:
    """Return whether an edge could be there."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, half a bracket
        return False


@dataclass(slots=True)
class Edges:
    """The edges to ask, the current one first; any of them serves any stream."""

    urls: Sequence[str]
    index: int = 0

    @classmethod
    def parse(cls, urls: Sequence[str]) -> Self:
        for url in urls:
            if not is_edge_url(url):
                raise ClientError(
                    f"not the address of an edge: {url!r}", hint="for example --url http://127.0.0.1:8000"
                )
        return cls([url.rstrip("/") for url in urls])

    @property
    def current(self) -> str:
        return self.urls[self.index]

    def advance(self) -> None:
        self.index = (self.index + 1) % len(self.urls)


@dataclass(slots=True)
class Patience:
    """The waits between tries, and the time to give up: soon if no edge has ever answered, else late.

    Full jitter: a thousand readers of a restarted edge must not come back in the same millisecond.
    """

    tries: int = 4
    failures: int = 0

    def refresh(self) -> None:
        """An edge has answered, so it is worth waiting for one."""
        self.tries, self.failures = _TRIES_ONCE_ANSWERED, 0

    def next_wait_s(self, asked_s: float | None) -> float | None:
        """Seconds to wait, at least what the server asked for; None after too many failures in a row."""
        self.failures += 1
        if self.failures > self.tries:
            return None
        longest_s = min(_LONGEST_BACKOFF_S, _BACKOFF_S * 2.0 ** (self.failures - 1))
        return (asked_s or 0.0) + random.uniform(0, longest_s)
