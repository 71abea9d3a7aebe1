"""The options of a request that go to the provider: those of the OpenAI chat API, and what its entry allows."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import orjson

from services.edge.api.schemas import CreateStream
from shared.errors import InvalidBody
from shared.settings.providers import ProviderSettings

__all__ = ("check_options", "for_the_provider", "unknown_options")

_OURS: Final = {"metadata", "n", "on_interruption", "stream", "stream_options"}
# Options of the OpenAI chat API whose result no stream could hold, and the value with which they ask for nothing.
_NOTHING: Final[Mapping[str, Any]] = {
    "audio": None,
    "function_call": "none",
    "functions": [],
    "logprobs": False,
    "modalities": ["text"],
    "top_logprobs": 0,
}
_MAX_NAME_CHARS: Final = 64


def check_options(wanted: CreateStream, providers: Sequence[ProviderSettings]) -> None:
    """Raise `InvalidBody` unless one of these providers may see all options that are not known here."""
    unknown = unknown_options(wanted)
    if not unknown or not providers or any(all(provider.allows(name) for name in unknown) for provider in providers):
        return
    name = next((name for name in unknown if not any(provider.allows(name) for provider in providers)), unknown[0])
    raise InvalidBody(
        f"{name[:_MAX_NAME_CHARS]}: not an option that Tailrace knows. It is passed on if allow_options in the entry "
        "of the model's provider ([[providers]]) names it."
    )


def unknown_options(wanted: CreateStream) -> list[str]:
    """Return the names of the options that Tailrace does not know."""
    return [name for name, value in (wanted.model_extra or {}).items() if _asks_for_something(name, value)]


def for_the_provider(wanted: CreateStream) -> bytes:
    """The request as it is kept for the worker. An option that is null is one that was not given."""
    options = wanted.model_dump(exclude_unset=True, exclude=_OURS)
    return orjson.dumps({name: value for name, value in options.items() if _asks_for_something(name, value)})


def _asks_for_something(name: str, value: object) -> bool:
    return value is not None and (name not in _NOTHING or value != _NOTHING[name])
