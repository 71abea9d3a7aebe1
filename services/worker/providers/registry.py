"""The dialects there are, and the provider behind an entry of the settings."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import Final

import aiohttp

from services.worker.providers.anthropic.dialect import ANTHROPIC
from services.worker.providers.completion import ConfiguredProvider
from services.worker.providers.dialect import Dialect
from services.worker.providers.gemini.dialect import GEMINI
from services.worker.providers.ollama.dialect import OLLAMA
from services.worker.providers.openai.dialect import OPENAI
from services.worker.providers.responses.dialect import RESPONSES
from shared.errors import InvalidConfiguration
from shared.settings.providers import ProviderSettings

__all__ = ("DIALECTS", "dialect_of", "provider_of")

DIALECTS: Final[tuple[Dialect, ...]] = (OPENAI, ANTHROPIC, GEMINI, OLLAMA, RESPONSES)
# Other words for them: the makers, and who speaks OpenAI's chat completions.
_ALSO: Final = {
    "claude": "anthropic",
    "google": "gemini",
    "vertex": "gemini",
    **dict.fromkeys(("azure", "deepseek", "groq", "mistral", "openrouter", "vllm", "chat"), "openai"),
}


def provider_of(
    settings: ProviderSettings,
    session: aiohttp.ClientSession,
    *,
    environment: Mapping[str, str],
    dialects: tuple[Dialect, ...] = DIALECTS,
) -> ConfiguredProvider:
    """The provider of an entry. Raises `InvalidConfiguration`, see `dialect_of`."""
    return ConfiguredProvider(settings, dialect_of(settings, dialects), session, environment=environment)


def dialect_of(settings: ProviderSettings, dialects: tuple[Dialect, ...] = DIALECTS) -> Dialect:
    """The dialect that an entry names. Raises `InvalidConfiguration` if there is none, or it cannot do what it must."""
    dialect = next((each for each in dialects if each.name == settings.dialect), None)
    if dialect is None:
        raise _wrong(
            settings, f"there is no dialect {settings.dialect!r}", settings.dialect, (each.name for each in dialects)
        )
    if settings.continuation not in dialect.continuations:
        what = f"{dialect.name} has no continuation {settings.continuation!r}"
        raise _wrong(settings, what, settings.continuation, dialect.continuations)
    return dialect


def _wrong(settings: ProviderSettings, what: str, given: str, there_are: Iterable[str]) -> InvalidConfiguration:
    known = sorted(there_are)
    near = [_ALSO[given]] if given in _ALSO else get_close_matches(given, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return InvalidConfiguration(f"provider {settings.name}: {what}; there are: {', '.join(known)}{hint}")
