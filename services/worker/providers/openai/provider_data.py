"""Data that a provider wants back with the next turn, unread: signatures of thoughts, encrypted reasoning.

Gemini and Claude refuse the next turn of a tool call without it. Its form is the provider's own, so that a client can
send it back as it is; what comes in pieces is put together.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from services.worker.providers.frames.opaque import MAX_PROVIDER_DATA_BYTES, MOST_DEPTH, TEXTS, carried
from shared.log.events import Event, reasoning_end

__all__ = ("MAX_PROVIDER_DATA_BYTES", "ProviderData", "carried")

_OF_REASONING: Final = frozenset(
    {
        "encrypted_content",
        "reasoning_details",
        "reasoning_encrypted_content",
        "reasoning_opaque",
        "reasoning_signature",
        "signature",
        "thinking_blocks",
    }
)
_OF_MESSAGE: Final = frozenset({"extra_content", "provider_specific_fields", "thought_signature"})
# What makes it worth carrying; the rest (formats, indexes, flags) goes along.
_OPAQUE: Final = frozenset(
    {
        "data",
        "encrypted_content",
        "reasoning_encrypted_content",
        "reasoning_opaque",
        "reasoning_signature",
        "signature",
        "thoughtSignature",
        "thought_signature",
    }
)


class ProviderData:
    """The opaque data of one answer that belongs to no call. `count` is told what is lost."""

    names: Final = _OF_REASONING | _OF_MESSAGE

    def __init__(self, count: Callable[[str], None]) -> None:
        self._count = count
        self._held: dict[str, Any] = {}
        self._is_due = False
        self._is_of_reasoning = False

    @property
    def ends_reasoning(self) -> bool:
        """Return whether something has to be told before anything but reasoning follows."""
        return self._is_due and self._is_of_reasoning

    def take(self, fields: Mapping[str, Any], *, is_shown: bool) -> None:
        """Take the provider's data of a delta. `is_shown`: the reasoning in it is also there as text."""
        for name in self.names & fields.keys():
            value = fields[name]
            if value in (None, "", [], {}):
                continue
            self._held[name] = _merged(self._held.get(name), value)
            if name in _OF_REASONING:
                self._is_of_reasoning = True
            if name in _OPAQUE or _has(value, _OPAQUE) or (not is_shown and _has(value, TEXTS)):
                self._is_due = True

    def carry(self, name: str, value: object) -> None:
        """Something else that is to go along."""
        self._held[name] = value
        self._is_due = True

    def rest(self) -> list[Event]:
        """The event that carries it, if there is anything to carry."""
        held, is_due = self._held, self._is_due
        self._held, self._is_due, self._is_of_reasoning = {}, False, False
        data = carried(held, self._count) if is_due else None
        return [reasoning_end(data)] if data else []


def _merged(held: Any, new: Any, name: str = "", depth: int = 0) -> Any:
    """The pieces of one value put together."""
    if type(held) is not type(new) or depth > MOST_DEPTH:
        return new if held is None or new else held
    if isinstance(new, dict):
        return held | {key: _merged(held.get(key), value, key, depth + 1) for key, value in new.items()}
    if isinstance(new, list):
        return _joined(held, new, depth)
    if not isinstance(new, str):
        return new
    # A signature that is sent again is the same signature.
    return held if not new or (new == held and name not in TEXTS) else held + new


def _joined(held: list[Any], new: list[Any], depth: int) -> list[Any]:
    joined = list(held)
    for entry in new:
        place = next((n for n in range(len(joined) - 1, -1, -1) if _is_same(joined[n], entry)), None)
        if place is None:
            joined.append(entry)
        else:
            joined[place] = _merged(joined[place], entry, depth=depth + 1)
    return joined


def _is_same(one: Any, other: Any) -> bool:
    """Return whether two entries are pieces of one."""
    if not isinstance(one, dict) or not isinstance(other, dict):
        return bool(one == other)
    if one.get("type") != other.get("type") or one.get("index") != other.get("index"):
        return False
    if "index" not in one and _has(one, _OPAQUE):
        return False  # a signature is the end of its block
    return one.get("id") == other.get("id") or one.get("id") is None or other.get("id") is None


def _has(value: Any, names: frozenset[str], depth: int = 0) -> bool:
    """Return whether a text of one of these names is anywhere in it."""
    if depth > MOST_DEPTH:
        return False
    if isinstance(value, dict):
        said = any(name in names and isinstance(each, str) and each for name, each in value.items())
        return said or any(_has(each, names, depth + 1) for each in value.values())
    return isinstance(value, list) and any(_has(each, names, depth + 1) for each in value)
