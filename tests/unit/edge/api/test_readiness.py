"""Readiness: what an edge needs of its store, each told by its own code, logged once, and forgotten when it is gone."""

import logging
from typing import Any

import pytest

from services.edge.api.readiness import Readiness
from shared.errors import StoreDenied, StoreError, StoreMisused, StoreUnavailable
from shared.settings.settings import Settings
from shared.store.memory.store import MemoryStore
from shared.store.state import Server
from shared.store.store import Role
from shared.store.version import Version

__all__ = ()


class Looked(MemoryStore):
    """A store that is what a test says it is."""

    info: dict[str, Any] = {"redis_version": "8.6.3"}  # noqa: RUF012
    policy = "noeviction"
    failure: StoreError | None = None

    async def server(self) -> Server:
        return Server(0, 0, self.policy, Version.of(self.info))

    async def prove(self, role: Role) -> None:
        assert role == "edge"
        if self.failure is not None:
            raise self.failure


def valkey(number: str) -> dict[str, Any]:
    return {"redis_version": "7.2.4", "server_name": "valkey", "valkey_version": number}


async def code(store: Looked, **settings: Any) -> str:
    found = await Readiness(store, Settings(**settings)).obstacle()
    return found.code if found else ""


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        ({"redis_version": "6.2.18"}, "store_too_old"),
        ({"redis_version": "7.0.0"}, ""),
        ({}, "store_too_old"),
        (valkey("7.1.9"), "store_too_old"),
        (valkey("7.2.0"), ""),
    ],
)
async def test_a_version_below_the_floor_is_an_obstacle(info: dict[str, Any], expected: str) -> None:
    store = Looked()
    store.info = info
    assert await code(store) == expected


@pytest.mark.parametrize(
    "failure",
    [
        StoreMisused("ERR Function not found"),
        StoreMisused("ERR unknown command 'FCALL'"),
        StoreDenied("NOPERM"),
        StoreUnavailable("connection failed"),
    ],
)
async def test_an_edge_whose_functions_do_not_work_is_not_ready(failure: StoreError) -> None:
    store = Looked()
    store.failure = failure
    assert await code(store) == failure.code


async def test_a_store_that_evicts_is_an_obstacle_unless_that_is_allowed() -> None:
    store = Looked()
    store.policy = "volatile-lru"
    assert await code(store) == "store_evicts"
    assert await code(store, allow_eviction=True) == ""


async def test_a_reason_is_logged_once_and_its_end_as_well(caplog: pytest.LogCaptureFixture) -> None:
    store = Looked()
    readiness = Readiness(store, Settings())
    with caplog.at_level(logging.INFO):
        store.failure = StoreDenied("NOPERM this user has no permissions to run the 'fcall' command")
        for _ in range(3):
            found = await readiness.obstacle()
            assert found is not None
            assert "fcall" not in found.text, "clients are not told what Redis says"
        store.failure = None
        assert await readiness.obstacle() is None
    lines = [record.getMessage() for record in caplog.records if record.name.endswith("readiness")]
    assert len(lines) == 2
    assert "fcall" in lines[0]
    assert lines[1] == "this edge takes readers again"
