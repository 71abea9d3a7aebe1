"""Sending at a rate: how much is due, and nothing of what could not be sent in time is made up for in a burst."""

import time
from typing import Final

__all__ = ("Pace",)

# Further behind than this, the rest is given up: a server that cannot keep up is not to be buried.
_MOST_BEHIND_S: Final = 0.25


class Pace:
    """`due` counts what should have been sent since the last call."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._sent = 0.0
        self._began = time.monotonic()

    def due(self, most: int) -> int:
        owed = (time.monotonic() - self._began) * self._rate - self._sent
        if owed > self._rate * _MOST_BEHIND_S + most:
            self._began += (owed - most) / self._rate
            owed = most
        due = min(int(owed), most)
        self._sent += due
        return due
