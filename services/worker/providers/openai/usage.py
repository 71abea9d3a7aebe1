"""Token counts, wherever a provider puts them and whatever it calls them. What is no sensible number is left out."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

__all__ = ("counted", "merged", "usages_in")

_MAX_TOKENS: Final = 2**53 - 1

_Path = tuple[str, ...]
# First match wins.
_PLACES: Final[Mapping[str, tuple[_Path, ...]]] = {
    "input_tokens": (("prompt_tokens",), ("input_tokens",)),
    "output_tokens": (("completion_tokens",), ("output_tokens",)),
    "total_tokens": (("total_tokens",),),
    "reasoning_tokens": (
        ("completion_tokens_details", "reasoning_tokens"),
        ("output_tokens_details", "reasoning_tokens"),
        ("reasoning_tokens",),
    ),
    "cached_tokens": (
        ("prompt_tokens_details", "cached_tokens"),
        ("input_tokens_details", "cached_tokens"),
        ("cached_tokens",),
        ("prompt_cache_hit_tokens",),
        ("cache_read_input_tokens",),
    ),
}
_COUNTS: Final = ("input_tokens", "output_tokens", "total_tokens")


def usages_in(chunk: Mapping[str, Any]) -> Iterator[object]:
    """Everything in a chunk that is meant as usage, the most general last."""
    choices = chunk.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if isinstance(choice, dict):
            yield choice.get("usage")
    for holder in (chunk.get("x_groq"), chunk.get("message")):
        if isinstance(holder, dict):
            yield holder.get("usage")
    yield chunk.get("usage")


def counted(usage: object) -> dict[str, int] | None:
    """Token counts under our names, those that were given; None if nothing was counted, or everything is 0."""
    if not isinstance(usage, dict):
        return None
    found = {name: _first(usage, places) for name, places in _PLACES.items()}
    counts = {name: count for name, count in found.items() if count is not None}
    return counts if any(counts.get(name) for name in _COUNTS) else None


def merged(known: dict[str, int] | None, new: dict[str, int]) -> dict[str, int]:
    """The counts so far: what is reported later counts, but 0 is no news. The total is made up where nobody gave it."""
    counts = {**(known or {}), **{name: count for name, count in new.items() if count or name not in (known or {})}}
    if "total_tokens" not in new and "input_tokens" in counts and "output_tokens" in counts:
        counts["total_tokens"] = counts["input_tokens"] + counts["output_tokens"]
    return {name: counts[name] for name in _PLACES if name in counts}


def _first(usage: Mapping[str, Any], places: tuple[_Path, ...]) -> int | None:
    return next((count for place in places if (count := _count(usage, place)) is not None), None)


def _count(fields: object, place: _Path) -> int | None:
    for name in place:
        fields = fields.get(name) if isinstance(fields, dict) else None
    if isinstance(fields, float) and fields.is_integer():
        fields = int(fields)
    return fields if type(fields) is int and 0 <= fields <= _MAX_TOKENS else None
