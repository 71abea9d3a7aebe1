"""Token counts as a provider names them, as ours. A number that makes no sense is left out."""

from collections.abc import Mapping
from typing import Any, Final

__all__ = ("count_in", "counted", "total_of")

_MAX_TOKENS: Final = 2**53 - 1
_NAMES: Final = ("input_tokens", "output_tokens", "total_tokens", "reasoning_tokens", "cached_tokens")


def count_in(fields: object, *path: str) -> int | None:
    """The count at the end of a path of members; None if there is none."""
    for name in path:
        fields = fields.get(name) if isinstance(fields, dict) else None
    if isinstance(fields, float) and fields.is_integer():
        fields = int(fields)
    return fields if type(fields) is int and 0 <= fields <= _MAX_TOKENS else None


def total_of(fields: Mapping[str, Any], *names: str) -> int | None:
    """The sum of the counts of these names; None if there is none of them."""
    found = [count for name in names if (count := count_in(fields, name)) is not None]
    return sum(found) if found else None


def counted(**counts: int | None) -> dict[str, int] | None:
    """The counts that were given, under our names; None if nothing was counted. The total is made up if need be."""
    given = {name: count for name in _NAMES if (count := counts.get(name)) is not None}
    if not given.get("input_tokens") and not given.get("output_tokens"):
        return None
    if "total_tokens" not in given and "input_tokens" in given and "output_tokens" in given:
        given["total_tokens"] = given["input_tokens"] + given["output_tokens"]
    return {name: given[name] for name in _NAMES if name in given}
