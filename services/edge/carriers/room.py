"""Room for connections, which are file descriptors.

When they run out, libuv accepts a connection and closes it without a word to anybody. And without some to spare even an
edge that keeps what it has cannot reach Redis again.
"""

import logging
from typing import Final

from prometheus_client import Counter

__all__ = ("Room",)

logger = logging.getLogger(__name__)

_TO_SPARE_MOST: Final = 64
_TO_SPARE_SHARE: Final = 8


class Room:
    """The descriptors that may be connections, of the `most` that the process can have. The lowest free one is next."""

    def __init__(self, most: int | None, refused: Counter) -> None:
        self._most = most
        self._connections_below = most - min(_TO_SPARE_MOST, most // _TO_SPARE_SHARE) if most else None
        self._refused = refused
        self._has_told = False

    def __repr__(self) -> str:
        return f"<Room below {self._connections_below} of {self._most}>"

    def has(self, descriptor: int) -> bool:
        """Return whether this may be a connection. If not, it is counted, and logged once."""
        if self._connections_below is None or descriptor < self._connections_below:
            return True
        self._refused.inc()
        if not self._has_told:
            self._has_told = True
            logger.error("out of file descriptors: connections are refused", extra={"limit": self._most})
        return False
