"""Are providers configured, do they answer where we will ask, do they take our keys, and which models do they list?"""

import asyncio
import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import aiohttp

from services.cli.checks.finding import Finding, failed, ok, warning
from services.cli.checks.model_list import ModelList, Reply, ask_for_models
from services.cli.checks.places import Places
from services.worker.providers.registry import dialect_of
from shared.errors import InvalidConfiguration
from shared.settings.providers import ProviderSettings
from shared.settings.settings import Settings

__all__ = ("ProviderAnswer", "ask_providers", "check_providers", "is_name")

_MOST_NAMED: Final = 5
_MOST_OFFERED: Final = 200
_LATEST: Final = ":latest"
# Listed beside models to talk to, but none of them.
_NO_CHAT: Final = re.compile(
    r"embed|tts|whisper|audio|realtime|transcribe|image|dall-e|moderation|rerank|sora|veo|imagen", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class ProviderAnswer:
    """The result of one provider's check: the finding, and the names it lists of the models it is to serve."""

    settings: ProviderSettings
    finding: Finding
    models: Sequence[str] = ()

    @property
    def has_only_patterns(self) -> bool:
        """Return whether nobody could name a model of it: the file has patterns, and the provider lists nothing."""
        return not self.models and not any(map(is_name, self.settings.models))


def is_name(model: str) -> bool:
    """Return whether this is the name of a model rather than a pattern such as `gpt-*`."""
    return not set("*?[").intersection(model)


async def check_providers(settings: Settings, environment: Mapping[str, str], places: Places) -> Sequence[Finding]:
    """One finding a provider, in the order of the file; what to do begins with its line."""
    if not settings.providers:
        fix = "add [[providers]] to tailrace.toml (docs/cli.md has an example); `tailrace up` includes a small model"
        return [warning("providers", "none is configured: no question can be answered", fix)]
    answers = await ask_providers(settings.providers, environment)
    return [_placed(answer.finding, places.of(("providers", at))) for at, answer in enumerate(answers)]


def _placed(finding: Finding, place: str) -> Finding:
    return replace(finding, fix=f"{place}: {finding.fix}") if place and finding.fix else finding


async def ask_providers(
    providers: Sequence[ProviderSettings], environment: Mapping[str, str]
) -> Sequence[ProviderAnswer]:
    """Ask each provider, all at once and each within its connect timeout."""
    async with aiohttp.ClientSession() as session:
        return await asyncio.gather(*(_ask(provider, session, environment) for provider in providers))


async def _ask(
    settings: ProviderSettings, session: aiohttp.ClientSession, environment: Mapping[str, str]
) -> ProviderAnswer:
    name = f"provider {settings.name}"
    if fault := _key_fault(name, settings, environment):
        return ProviderAnswer(settings, fault)
    try:
        dialect = dialect_of(settings)
    except InvalidConfiguration as error:
        wrong = failed(name, error.message.removeprefix(f"{name}: "), "correct this entry (docs/settings.md)")
        return ProviderAnswer(settings, wrong)
    listed = await ask_for_models(settings, dialect, session, environment)
    if listed.reply is Reply.LISTED:
        names = [_as_named(each, settings) for each in listed.names]
        return ProviderAnswer(settings, _judge_names(name, settings, names), _to_talk_to(settings, names))
    return ProviderAnswer(settings, _judge_reply(name, settings, listed))


def _key_fault(name: str, settings: ProviderSettings, environment: Mapping[str, str]) -> Finding | None:
    variable = settings.api_key_env
    if variable is None:
        return None
    key = (settings.api_key(environment) or "").strip()
    if not key:
        return failed(name, f"its key is missing: {variable} is not set", f"export {variable}=…")
    if not (key.isascii() and key.isprintable()):
        return failed(name, f"{variable} holds characters that no key has", f"export {variable}=… without line ends")
    return None


def _to_talk_to(settings: ProviderSettings, listed: Sequence[str]) -> Sequence[str]:
    """Return the models to offer: those that the file names, and the chat models that its patterns match."""
    served = [model for model in listed if settings.serves(model)]
    named = set(settings.models)
    return [model for model in served if model in named or not _NO_CHAT.search(model)][:_MOST_OFFERED]


def _as_named(model: str, settings: ProviderSettings) -> str:
    """Return the model's name as the file has it: Ollama lists `llama3:latest` for `llama3`."""
    short = model.removesuffix(_LATEST)
    return short if short in settings.models else model


def _judge_reply(name: str, settings: ProviderSettings, listed: ModelList) -> Finding:
    base = settings.base_url
    match listed.reply:
        case Reply.REFUSED_KEY:
            variable = settings.api_key_env
            fix = f"is the key in {variable} right?" if variable else "name the variable with its key: api_key_env = …"
            return failed(name, f"refuses the key ({listed.detail})", fix)
        case Reply.ELSEWHERE:
            return failed(name, f"nothing at {base}, but an API at {listed.detail}", f'base_url = "{listed.detail}"')
        case Reply.NOTHING_THERE:
            return failed(name, f"no API at {base} ({listed.detail})", "base_url goes up to and including /v1")
        case Reply.NO_ANSWER:
            return failed(name, f"no answer from {base} ({listed.detail})", "is base_url right, and is it reachable?")
        case Reply.TROUBLED:
            return warning(name, f"answers, but not now ({listed.detail})", "try again; its status page may say more")
        case _:
            return ok(name, f"answers; lists no models; serves {', '.join(settings.models)}")


def _judge_names(name: str, settings: ProviderSettings, listed: Sequence[str]) -> Finding:
    """A name that the provider does not list is probably misspelt; it may have aliases, so this is no failure."""
    for model in settings.models:
        if is_name(model) and listed and model not in listed:
            close = difflib.get_close_matches(model, listed, n=1)
            fix = f"did you mean {close[0]}?" if close else f"it lists {_some(listed)}"
            return warning(name, f"answers, but does not list {model}", fix)
    served = [model for model in listed if settings.serves(model)]
    if listed and not served:
        return warning(name, f"lists no model that matches {', '.join(settings.models)}", f"it lists {_some(listed)}")
    return ok(name, f"answers; serves {_some(served) or ', '.join(settings.models)}")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
