"""Every entry on docs/providers.md can be used as it is, and every family and dialect has one."""

import tomllib

import pytest

from services.worker.providers.provider import CompletionRequest
from services.worker.providers.registry import DIALECTS, dialect_of
from shared.settings.providers import ProviderSettings
from tests.docs.markdown import ROOT, blocks

__all__ = ()

PAGE = ROOT / "docs" / "providers.md"
SNIPPETS = [tomllib.loads(block.text) for block in blocks(PAGE) if block.language == "toml"]
ENTRIES = [entry for snippet in SNIPPETS for entry in snippet["providers"]]
FAMILIES = ("OpenAI", "Azure", "Anthropic", "Gemini", "Mistral", "DeepSeek", "Groq", "OpenRouter", "Bedrock")
LOCAL = ("Ollama", "vLLM", "llama.cpp", "LM Studio")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["name"])
def test_an_entry_loads_and_can_be_asked(entry: dict[str, object]) -> None:
    settings = ProviderSettings.model_validate(entry)
    request = CompletionRequest("m", [{"role": "user", "content": "hi"}], {"max_tokens": 5})
    call = dialect_of(settings).completion(request, settings, key="k" if settings.api_key_env else None)
    assert call.body
    assert any(value in ("k", "Bearer k") for value in call.headers.values()) is bool(settings.api_key_env)


def test_entries_have_names_of_their_own() -> None:
    assert len({entry["name"] for entry in ENTRIES}) == len(ENTRIES)


@pytest.mark.parametrize("family", FAMILIES + LOCAL)
def test_every_family_has_its_own(family: str) -> None:
    sections = PAGE.read_text("utf-8").split("\n### ")[1:]
    assert any(section.startswith(family) and "[[providers]]" in section for section in sections)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda each: each.name)
def test_every_dialect_has_an_entry_and_a_row(dialect: object) -> None:
    name = getattr(dialect, "name", "")
    assert name in {entry.get("dialect", "openai") for entry in ENTRIES}
    assert f"| `{name}` |" in PAGE.read_text("utf-8")
