"""The configuration that `tailrace up` adds for its children, as a file and as variables."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from services.local.folder import Folder
from services.local.model import MODEL_NAME
from services.local.port import LOOPBACK
from shared.errors import InvalidConfiguration
from shared.settings.providers import ProviderSettings
from shared.settings.settings import CONFIG_VARIABLE, Settings

__all__ = ("child_environment", "is_model", "names_model", "with_local_provider")

_DEFAULT_FILE: Final = "tailrace.toml"
# Everything must be gone within 5 s of Ctrl-C; readers of a local try-out need no ten seconds to move elsewhere.
_DRAIN_S: Final = "1"


def with_local_provider(folder: Folder, environment: Mapping[str, str], *, model_port: int) -> Path:
    """Write the user's file (if there is one) plus the built-in model as provider `local`; return where it is.

    Raises `InvalidConfiguration` when the user's file says `providers = []`, which cannot be added to.
    """
    theirs = Path(environment.get(CONFIG_VARIABLE, _DEFAULT_FILE))
    text = theirs.read_text("utf-8") if theirs.is_file() else ""
    text = f"# Written by `tailrace up` at each start: edits are lost.\n{text}\n{_local_provider(model_port)}"
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise InvalidConfiguration(f"{theirs}: providers must be [[providers]] tables or left out ({error})") from error
    path = folder.path / _DEFAULT_FILE
    path.write_text(text, "utf-8")
    return path


def child_environment(
    settings: Settings, environment: Mapping[str, str], *, redis_url: str, config: Path | None, log_format: str
) -> dict[str, str]:
    """The variables of a child: ours where the user has said nothing."""
    ours = {"TAILRACE_LOG_FORMAT": log_format, "TAILRACE_EDGE_DRAIN_S": _DRAIN_S, "TAILRACE_WORKER_DRAIN_S": _DRAIN_S}
    said = {f"TAILRACE_{name.upper()}" for name in settings.model_fields_set}
    child = {**environment, **{name: value for name, value in ours.items() if name not in said}}
    child["TAILRACE_REDIS_URL"] = redis_url
    if config is not None:
        child[CONFIG_VARIABLE] = str(config)
    return child


def names_model(settings: Settings, model_port: int) -> bool:
    """Return whether the user's own providers include the built-in model's address."""
    return any(is_model(provider, model_port) for provider in settings.providers)


def is_model(provider: ProviderSettings, model_port: int) -> bool:
    """Return whether a provider is at the address of the built-in model."""
    addresses = (f"http://{LOOPBACK}:{model_port}/", f"http://localhost:{model_port}/")
    return f"{provider.base_url}/".startswith(addresses)


def _local_provider(model_port: int) -> str:
    return f"""\
[[providers]]
name = "local"
dialect = "openai"
base_url = "http://{LOOPBACK}:{model_port}/v1"
models = ["{MODEL_NAME}"]
continuation = "prefill"  # llama.cpp goes on where an assistant turn stops
"""
