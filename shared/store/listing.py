"""The order of the listing: newest first, and what its cursor and its filter look like."""

import re
from typing import NamedTuple, Self

from shared.errors import InvalidCursor
from shared.store.state import is_over

__all__ = ("IndexPlace", "matches")

_CURSOR = re.compile(r"([0-9]{1,16})-([0-9a-f]{32})")


class IndexPlace(NamedTuple):
    """The place of a stream in an order by time, of creation or of last access: when that was, then its id."""

    at_ms: int
    id: str

    def __str__(self) -> str:
        return f"{self.at_ms}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Untrusted: anything but what a listing gave is refused with `InvalidCursor`."""
        match = _CURSOR.fullmatch(text)
        if match is None:
            raise InvalidCursor("The cursor is not one that a listing gave.")
        return cls(int(match[1]), match[2])


def matches(status: str, wanted: str | None) -> bool:
    """Return whether a listing filtered by `wanted` (a status, `live`, `finished`, None for all) shows this status."""
    if wanted is None:
        return True
    if wanted in {"live", "finished"}:
        return is_over(status) == (wanted == "finished")
    return status == wanted
