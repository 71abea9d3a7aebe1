"""An edge and a worker of each of two versions, on one Redis prefix: a deploy that is half-way."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.conftest import missing, own_keyspace, remove_keys
from tests.support.edge import EdgeProcess, running_edge
from tests.support.previous_release import ReleaseMissing, unpacked_release
from tests.support.pulling import FAST
from tests.support.service import Service
from tests.support.worker import WorkerProcess, running_provider, running_worker

__all__ = ("Deploy", "Version")

# Of a lease that a test waits for; and folds at once, so that each version reads the other's blocks.
SETTINGS: dict[str, float] = {**FAST, "fold_after_s": 0.5, "budget_s": 0.5, "retry_ms": 50, "recount_s": 1.0}


@dataclass(frozen=True, slots=True)
class Version:
    """One version's source, and its edge."""

    name: str
    root: Path
    edge: EdgeProcess


@dataclass(slots=True)
class Deploy:
    """Both versions' edges run; workers are started by the tests."""

    old: Version
    new: Version
    settings: dict[str, Any] = field(repr=False)

    @property
    def ports(self) -> list[int]:
        return [self.old.edge.port, self.new.edge.port]

    def version(self, name: str) -> Version:
        return self.old if name == "old" else self.new

    def worker(self, name: str, **settings: str | float) -> WorkerProcess:
        """A worker of a version, to be entered with `with`."""
        worker = running_worker(**(self.settings | settings))
        worker.root = self.version(name).root
        return worker


@pytest.fixture(scope="session")
def previous_release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the version before this one."""
    try:
        return unpacked_release(tmp_path_factory.mktemp("previous-release"))
    except ReleaseMissing as reason:
        missing(str(reason))


@pytest.fixture(scope="session")
def deploy(redis_url: str, previous_release: Path) -> Iterator[Deploy]:
    """Two edges, one of each version, and a provider that goes on with an answer that was begun."""
    keyspace, ours = own_keyspace(), Path(__file__).parents[2]
    with ExitStack() as stack:
        provider = stack.enter_context(running_provider())
        config = Path(stack.enter_context(TemporaryDirectory(prefix="tailrace-versions-"))) / "tailrace.toml"
        config.write_text(
            f'[[providers]]\nname = "scripted"\nbase_url = "{provider.base_url}"\n'
            'models = ["scripted"]\ncontinuation = "prefill"\n'
        )
        settings: dict[str, Any] = {"redis_url": redis_url, "prefix": keyspace.prefix, "config": str(config)}
        settings |= SETTINGS
        versions = [
            Version(name, root, running_edge(**settings)) for name, root in (("old", previous_release), ("new", ours))
        ]
        services: list[Service] = [version.edge for version in versions]
        for version in versions:
            version.edge.root = version.root
            stack.callback(version.edge.close)
            version.edge.launch()
        for service in services:
            service.wait_until(service.is_ready)
        yield Deploy(versions[0], versions[1], settings)
    asyncio.run(remove_keys(redis_url, keyspace))
