"""docs/settings.md, made from the descriptions of the settings: `python -m tests.docs.settings_page`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from shared.settings.providers import ProviderSettings
from shared.settings.settings import ENVIRONMENT_PREFIX, Settings

__all__ = ("PAGE", "settings_page")

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"

# The first setting of each section, in the order of the class.
_SECTIONS = {
    "redis_url": "Redis",
    "retain_s": "Life of a stream",
    "max_body_bytes": "Limits",
    "max_jobs": "Worker",
    "edge_host": "Edge",
    "log_level": "Logs",
    "providers": "Providers",
}
_INTRODUCTION = """\
# Settings

<!-- Made by `python -m tests.docs.settings_page` from shared/settings/; a test fails when the two differ. -->

Every process reads the same settings: from environment variables (`TAILRACE_` and the name in capitals), else from the
file that `TAILRACE_CONFIG` names (default `./tailrace.toml`, which may be absent), else the default. An unknown setting
is refused in both places, so that a misspelt one does not go unnoticed.

```toml
# tailrace.toml
redis_url = "redis://10.0.0.5:6379/0"
retain_s = 7200

[[providers]]
name = "openai"
base_url = "https://api.openai.com/v1"
api_key_env = "OPENAI_API_KEY"
models = ["gpt-*"]
```

The unit of a number is the end of its name: `_s` seconds (fractions are fine), `_ms` milliseconds, `_bytes` bytes.
"""
_PROVIDER = """
### A provider

Only the operator names providers; a request never carries an address. A model that several serve is asked of the first,
and of the next when that one fails.
"""
_TYPES = {str: "text", int: "number", float: "number", bool: "`true` or `false`", SecretStr: "text"}


def settings_page() -> str:
    """The page as it has to be."""
    return "".join(
        [_INTRODUCTION, *_settings(), _PROVIDER, *_table(ProviderSettings, list(ProviderSettings.model_fields))]
    )


def _settings() -> Iterator[str]:
    names = list(Settings.model_fields)
    starts = [names.index(name) for name in _SECTIONS]
    for title, start, end in zip(_SECTIONS.values(), starts, [*starts[1:], len(names)], strict=True):
        yield f"\n## {title}\n"
        yield from _table(Settings, names[start:end])


def _table(model: type[BaseModel], names: list[str]) -> Iterator[str]:
    yield (
        "\n| setting | environment | value | default | |\n|---|---|---|---|---|\n"
        if model is Settings
        else ("\n| field | value | default | |\n|---|---|---|---|\n")
    )
    for name in names:
        field = model.model_fields[name]
        variable = f" `{ENVIRONMENT_PREFIX}{name.upper()}` |" if model is Settings else ""
        yield f"| `{name}` |{variable} {_value(field)} | {_default(field)} | {field.description or ''} |\n"


def _value(field: FieldInfo) -> str:
    if get_origin(field.annotation) is Literal:
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    if get_origin(field.annotation) is list:
        return "list"
    if any(get_origin(kind) is list for kind in get_args(field.annotation)):
        return "list"
    if get_origin(field.annotation) is dict:
        return "table"
    optional = [kind for kind in get_args(field.annotation) if kind is not type(None)]
    kind: Any = optional[0] if optional else field.annotation
    return _TYPES[getattr(kind, "__origin__", kind)]


def _default(field: FieldInfo) -> str:
    default: Any = field.default
    if default is PydanticUndefined:
        return "" if field.is_required() else "none"
    if default is None:
        return "none"
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    return f"`{default}`{_readable(default)}"


def _readable(default: object) -> str:
    """Large powers of two in words."""
    if not isinstance(default, int) or default < 1024 or default % 1024:
        return ""
    return f" ({default >> 20} MiB)" if default % (1 << 20) == 0 else f" ({default >> 10} KiB)"


if __name__ == "__main__":
    PAGE.write_text(settings_page())
