"""Every wire on every carrier: a broker whose edges know one wire more than the product's."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest

from services.edge.wires.wire import Wire
from shared.log.keys import Keyspace
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from tests.conftest import own_keyspace, remove_keys
from tests.support.stack import Stack, running_stack
from tests.wires.registered import WIRES

__all__ = ()

PROGRAM = ("-m", "tests.wires.edge")


@dataclass(frozen=True, slots=True)
class Carrier:
    """An edge's port, and the version of HTTP that it is asked with."""

    port: int
    version: str


@pytest.fixture(scope="session")
def broker(redis_url: str) -> Iterator[Stack]:
    """An edge and one without transports, both with all wires of these tests, a worker and a scripted provider."""
    keyspace = own_keyspace()
    programs = {"program": PROGRAM, "plain_program": (*PROGRAM, "plain")}
    with running_stack(
        redis_url=redis_url,
        prefix=keyspace.prefix,
        edges=1,
        programs=programs,
        edge_heartbeat_s=1,
        send_timeout_s=5,
        chat_replay_s=2,
    ) as stack:
        yield stack
    asyncio.run(remove_keys(redis_url, keyspace))


@pytest.fixture
async def log(broker: Stack, redis_url: str) -> AsyncIterator[RedisStore]:
    """The store that the broker's edges read: tests write streams into it as a worker would."""
    store = RedisStore(open_client(redis_url), Keyspace(broker.settings["prefix"]))
    yield store
    await store.aclose()


CARRIERS = ("transport", "asgi", "http/1.0")
# On every carrier: ours, and one wire whose frames depend on more than their event. What a carrier does to payloads is
# the same for all, so the others go over one.
ON_EVERY_CARRIER = ("sse", "ndjson", "openai")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Parametrize the two fixtures below, together where a test has both."""
    own = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    needs = [
        name for name in ("carrier", "wire") if name in metafunc.fixturenames and not any(name in each for each in own)
    ]
    if needs == ["carrier", "wire"]:
        pairs = [
            pytest.param(carrier, wire, id=f"{carrier}-{wire.name}")
            for wire in WIRES
            for carrier in (CARRIERS if wire.name in ON_EVERY_CARRIER else CARRIERS[:1])
        ]
        metafunc.parametrize(("carrier", "wire"), pairs, indirect=True)
    elif needs == ["carrier"]:
        metafunc.parametrize("carrier", CARRIERS, indirect=True)
    elif needs == ["wire"]:
        metafunc.parametrize("wire", list(WIRES), ids=lambda wire: wire.name, indirect=True)


@pytest.fixture
def carrier(request: pytest.FixtureRequest, broker: Stack) -> Carrier:
    """Each way out in turn: HTTP/1.0 has no chunks, so that its readers go through ASGI on every server."""
    if request.param == "asgi":
        return Carrier(broker.plain.port, "1.1")
    return Carrier(broker.ports[0], "1.0" if request.param == "http/1.0" else "1.1")


@pytest.fixture
def wire(request: pytest.FixtureRequest) -> Wire:
    chosen: Wire = request.param
    return chosen
