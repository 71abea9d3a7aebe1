"""The bound of opaque provider data: it goes whole into one event, or not at all."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import orjson

__all__ = ("MAX_PROVIDER_DATA_BYTES", "MOST_DEPTH", "TEXTS", "carried")

# An encrypted chain of thought can have tens of kilobytes. It goes whole into one event.
MAX_PROVIDER_DATA_BYTES: Final = 128 * 1024
# Members that come as deltas.
TEXTS: Final = frozenset({"text", "summary", "thinking"})
MOST_DEPTH: Final = 6


def carried(data: Mapping[str, Any], count: Callable[[str], None]) -> Mapping[str, Any] | None:
    """The data if it is valid and not too large, without the texts in it if that helps; None if it cannot travel."""
    for form in (data, _without_texts(data)):
        try:
            size = len(orjson.dumps(form))
        except TypeError:
            break
        if size <= MAX_PROVIDER_DATA_BYTES:
            return form
    count("provider_data")
    return None


def _without_texts(value: Any, depth: int = 0) -> Any:
    if isinstance(value, dict) and depth <= MOST_DEPTH:
        return {name: _without_texts(each, depth + 1) for name, each in value.items() if name not in TEXTS}
    if isinstance(value, list) and depth <= MOST_DEPTH:
        return [_without_texts(each, depth + 1) for each in value]
    return value
