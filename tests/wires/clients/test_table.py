"""Every client in every situation, one test each; all are played side by side once, before the first."""

import asyncio
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.conftest import missing, own_keyspace, remove_keys
from tests.support.stack import running_stack
from tests.wires.clients.running import ClientMissing
from tests.wires.clients.situations import STACK, Play, play_all
from tests.wires.clients.table import SITUATIONS, Cell, all_cells, differences, tables

__all__ = ()

# Of every wire some clients, in every run; on two cores beside other tests all of them at once starve each other.
# `TAILRACE_ALL_CLIENTS=1` plays every one there is.
EVERY_RUN = frozenset(
    {
        "ag-ui-protocol",
        "ai 7",
        "anthropic-py",
        "curl",
        "eventsource 5",
        "httpx-sse",
        "openai-py",
        "openai-py responses",
        "websockets",
    }
)
CELLS = [cell for cell in all_cells() if cell.client in EVERY_RUN or os.environ.get("TAILRACE_ALL_CLIENTS")]


@pytest.fixture(scope="session")
def played(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Mapping[Cell, Play]]:
    """The cells that were selected, played."""
    params = [item.callspec.params for item in request.session.items if hasattr(item, "callspec")]
    selected = [each["cell"] for each in params if isinstance(each.get("cell"), Cell)]
    keyspace = own_keyspace()
    stack = running_stack(redis_url=redis_url, prefix=keyspace.prefix, edges=2, **STACK)
    with stack as broker, TemporaryDirectory(prefix="tailrace-clients-") as folder:
        try:
            yield asyncio.run(play_all(selected, broker, Path(folder)))
        except ClientMissing as reason:
            missing(str(reason))
    asyncio.run(remove_keys(redis_url, keyspace))


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("cell", CELLS, ids=str)
def test_cell(cell: Cell, played: Mapping[Cell, Play]) -> None:
    play = played[cell]
    if os.environ.get("TAILRACE_SHOW"):
        print({name: value for name, value in play.result.items() if name not in {"text", "reasoning", "calls"}})  # noqa: T201
    assert differences(cell.expect, play.result, play.script) == [], {
        name: str(value)[:300] for name, value in play.result.items()
    }


def test_those_of_every_run_are_in_the_tables() -> None:
    assert {cell.client for cell in all_cells()} & EVERY_RUN == EVERY_RUN
    assert {cell.wire for cell in CELLS} == set(tables())


@pytest.mark.parametrize("wire", tables())
def test_every_situation_is_in_the_table(wire: str) -> None:
    """What cannot happen to the clients of a wire is said, with the reason."""
    table = tables()[wire]
    assert set(table["expect"]) == set(SITUATIONS)
    assert all(set(cells) <= set(SITUATIONS) for cells in table.get("but", {}).values())
    assert set(table.get("but", {})) <= set(table["clients"])
