"""The processes that `tailrace up` runs here, so that the doctor checks those and not somebody else's Redis."""

import os
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from services.cli.checks.finding import Finding, ok, skipped
from services.console.invocation import command_line
from services.local.folder import Folder
from services.local.stack import without_password
from shared.errors import StoreError
from shared.settings.settings import CONFIG_VARIABLE, Settings
from shared.store.redis.client import open_client
from shared.store.redis.errors import mapping
from shared.store.redis.library import PREFIX

__all__ = ("Surroundings", "adopt", "is_somebody_elses")

_ASK_S: Final = 3.0
_FOLDER: Final = Path(".tailrace")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The processes that the `tailrace up` of this folder has started; all empty if none runs."""

    pid: int | None = None
    edges: Sequence[str] = ()
    redis_url: str | None = None
    config: str | None = None

    @classmethod
    def look(cls) -> "Surroundings":
        """Look into `./.tailrace`; nothing is made there."""
        running = Folder(_FOLDER).noted()
        if running is None:
            return cls()
        return cls(
            _of_kind(running, "pid", int),
            tuple(map(str, running.get("edges", ()))),
            _of_kind(running, "redis_url", str),
            _of_kind(running, "config", str),
        )

    def environment(self, environment: Mapping[str, str]) -> dict[str, str]:
        """The environment that the processes run with: their Redis and their file, where ours says nothing."""
        theirs = {"TAILRACE_REDIS_URL": self.redis_url, CONFIG_VARIABLE: self.config}
        return {name: value for name, value in theirs.items() if value} | dict(environment)

    def finding(self) -> Finding:
        if self.pid is None:
            return skipped("up", f"`{command_line('up')}` does not run in this folder")
        return ok("up", f"runs here (process {self.pid}) with edges {', '.join(self.edges)}")


async def is_somebody_elses(settings: Settings) -> Finding | None:
    """Return a finding instead of checks if nobody named this Redis and nothing of ours was ever in it.

    The default address is where any Redis of this machine would be: advice about it could harm its owner.
    """
    if "redis_url" in settings.model_fields_set:
        return None
    client = open_client(settings.redis_url, timeout_s=min(_ASK_S, settings.redis_timeout_s))
    try:
        with mapping():
            libraries = await cast("Awaitable[list[Any]]", client.function_list(f"{PREFIX}*"))
    except StoreError as error:
        # None there at all is for the checks to tell; one that talks but lets nobody in is nobody's business here.
        return None if error.retryable else _left_alone(settings)
    finally:
        await client.aclose()
    return None if libraries else _left_alone(settings)


def _left_alone(settings: Settings) -> Finding:
    place = without_password(settings.redis_url)
    return skipped(
        "redis",
        f"none is configured; the one at {place} was never used by Tailrace and is left alone "
        f"(TAILRACE_REDIS_URL={place} makes it yours, `{command_line('up')}` starts one)",
    )


def _of_kind(running: Mapping[str, Any], name: str, kind: type) -> Any:
    value = running.get(name)
    return value if isinstance(value, kind) else None


def adopt(surroundings: Surroundings) -> None:
    """Let this process read the settings that the running processes have."""
    os.environ.update(surroundings.environment(os.environ))
