"""The servers that streams can live on: the oldest version with all that we use, and those with known holes.

The holes are those that a client of Redis can use, and that running Tailrace widens: Lua, blocked clients, and output
for clients that have not said who they are. A distribution may have mended them under an old number, so they are
warned about and nothing is refused.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

__all__ = ("Version",)

_OLDEST: Final = {"redis": (7, 0, 0), "valkey": (7, 2, 0)}
_NAMES: Final = {"redis": "Redis", "valkey": "Valkey"}
_BLOCKED: Final = "CVE-2026-23479: use after free when a blocked client is evicted"
_LUA: Final = "CVE-2025-49844: code execution from Lua"
_STRANGERS: Final = "CVE-2025-21605: memory exhausted by clients that have not said who they are"
# From (inclusive), to (exclusive), what is wrong: each line of releases was mended by itself, or never. Sources are the
# release notes of both products and, for the third, NVD's ranges. MITRE's records are of no use here: for the first
# they name the newest line only, and none says anything of Valkey.
_HOLES: Final = {
    "redis": (
        ((7, 2, 0), (7, 2, 14), _BLOCKED),
        ((7, 3, 0), (7, 4, 9), _BLOCKED),
        ((8, 0, 0), (8, 2, 6), _BLOCKED),
        ((8, 3, 0), (8, 4, 3), _BLOCKED),
        ((8, 5, 0), (8, 6, 3), _BLOCKED),
        ((7, 0, 0), (7, 2, 11), _LUA),
        ((7, 3, 0), (7, 4, 6), _LUA),
        ((8, 0, 0), (8, 0, 4), _LUA),
        ((8, 1, 0), (8, 2, 2), _LUA),
        ((7, 0, 0), (7, 2, 8), _STRANGERS),
        ((7, 3, 0), (7, 4, 3), _STRANGERS),
    ),
    "valkey": (
        ((7, 2, 0), (7, 2, 13), _BLOCKED),
        ((8, 0, 0), (8, 0, 8), _BLOCKED),
        ((8, 1, 0), (8, 1, 7), _BLOCKED),
        ((9, 0, 0), (9, 0, 4), _BLOCKED),
        ((7, 2, 0), (7, 2, 11), _LUA),
        ((8, 0, 0), (8, 0, 6), _LUA),
        ((8, 1, 0), (8, 1, 4), _LUA),
        ((7, 2, 0), (7, 2, 9), _STRANGERS),
        ((8, 0, 0), (8, 0, 3), _STRANGERS),
        ((8, 1, 0), (8, 1, 1), _STRANGERS),
    ),
}


class Version(NamedTuple):
    """A product and its number. Valkey names its own and calls itself Redis 7.2 besides."""

    product: str
    number: tuple[int, ...]

    def __str__(self) -> str:
        return f"{_NAMES[self.product]} {'.'.join(map(str, self.number)) or '0'}"

    @classmethod
    def of(cls, info: Mapping[str, Any]) -> "Version":
        """From `INFO server`."""
        product = "valkey" if info.get("server_name") == "valkey" else "redis"
        text = str(info.get(f"{product}_version", "0"))
        return cls(product, tuple(int(part) for part in text.split(".")[:3] if part.isdecimal()))

    @property
    def oldest(self) -> str:
        """The oldest of this product that will do."""
        return ".".join(map(str, _OLDEST[self.product][:2]))

    @property
    def is_enough(self) -> bool:
        """Return whether it has functions and what they call."""
        return self.number >= _OLDEST[self.product]

    @property
    def holes(self) -> list[str]:
        """The known holes of this number."""
        return [text for first, mended, text in _HOLES[self.product] if first <= self.number < mended]
