"""The whole broker for tests: a scripted provider, workers and edges, each a process, on a Redis that is there."""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.edge import EdgeProcess, running_edge
from tests.support.service import Service
from tests.support.worker import ProviderProcess, WorkerProcess, running_provider, running_worker

__all__ = ("MODEL", "Stack", "configuration", "running_stack")

# The model that the configured provider serves.
MODEL = "scripted"


@dataclass(frozen=True, slots=True)
class Stack:
    """`plain` is an edge without transports to write to; `settings` are what all processes were started with."""

    edges: list[EdgeProcess]
    plain: EdgeProcess
    workers: list[WorkerProcess]
    provider: ProviderProcess
    settings: dict[str, Any] = field(repr=False)

    @property
    def ports(self) -> list[int]:
        return [edge.port for edge in self.edges]


def configuration(base_url: str, *, continuation: str = "none") -> str:
    """A `tailrace.toml` with one provider."""
    return (
        f'[[providers]]\nname = "scripted"\nbase_url = "{base_url}"\nmodels = ["{MODEL}", "{MODEL}-*"]\n'
        f'continuation = "{continuation}"\n'
    )


@contextmanager
def running_stack(
    *,
    redis_url: str,
    prefix: str,
    edges: int = 3,
    workers: int = 1,
    programs: Mapping[str, Any] | None = None,
    continuation: str = "none",
    **settings: str | float,
) -> Iterator[Stack]:
    """Start everything at once and wait until all of it is ready. `programs` are other edges than the product's."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tailrace-stack-")))
        provider = stack.enter_context(running_provider())
        config = folder / "tailrace.toml"
        config.write_text(configuration(provider.base_url, continuation=continuation))
        common: dict[str, Any] = {"redis_url": redis_url, "prefix": prefix, "config": str(config), "retry_ms": 50}
        common |= settings
        own = Stack(
            edges=[running_edge(**(programs or {}), **common) for _ in range(edges)],
            plain=running_edge(is_plain=True, **(programs or {}), **common),
            workers=[running_worker(**common) for _ in range(workers)],
            provider=provider,
            settings=common,
        )
        services: list[Service] = [*own.edges, own.plain, *own.workers]
        for service in services:
            stack.callback(service.close)
            service.launch()
        for service in services:
            service.wait_until(service.is_ready)
        yield own
