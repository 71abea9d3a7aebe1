"""Are providers configured, and do they answer and take our keys?"""

import asyncio
from collections.abc import Mapping, Sequence

import aiohttp

from services.cli.checks.finding import Finding, failed, ok, warning
from services.worker.providers.http.session import new_session
from services.worker.providers.openai.dialect import OpenAIProvider
from shared.errors import ProviderAuth, ProviderError
from shared.settings.providers import ProviderSettings
from shared.settings.settings import Settings

__all__ = ("check_providers",)


async def check_providers(settings: Settings, environment: Mapping[str, str]) -> Sequence[Finding]:
    """One finding a provider, in the order of the file."""
    if not settings.providers:
        fix = (
            "add [[providers]] to tailrace.toml (docs/cli.md has an example); `tailrace up` brings a small model along"
        )
        return [warning("providers", "none is configured: no question can be answered", fix)]
    async with new_session() as session:
        return await asyncio.gather(*(_check(provider, session, environment) for provider in settings.providers))


async def _check(settings: ProviderSettings, session: aiohttp.ClientSession, environment: Mapping[str, str]) -> Finding:
    name = f"provider {settings.name}"
    if settings.api_key_env and not settings.api_key(environment):
        return failed(
            name, f"its key is missing: {settings.api_key_env} is not set", f"export {settings.api_key_env}=…"
        )
    try:
        await OpenAIProvider(settings, session, environment=environment).probe()
    except ProviderAuth as error:
        return failed(name, error.message, f"is the key in {settings.api_key_env or 'api_key_env'} right?")
    except ProviderError as error:
        return failed(name, error.message, f"is {settings.base_url} right, and can this machine reach it?")
    return ok(name, f"answers; serves {', '.join(settings.models)}")
