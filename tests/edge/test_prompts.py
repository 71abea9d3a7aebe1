"""Who sees a question, and for how long."""

from typing import Any

from redis.asyncio import Redis

from shared.store.redis.client import open_client
from tests.support.calls import ask, call, cancel, state
from tests.support.script import Fault, Script
from tests.support.sse_client import follow
from tests.support.stack import Stack
from tests.support.waiting import eventually

__all__ = ()

SECRET = "canary-of-the-question"
LABEL = "canary-of-the-metadata"


async def held(client: "Redis", pattern: str) -> list[Any]:
    """Return everything that Redis holds under these keys, whatever its kind."""
    values: list[Any] = []
    async for key in client.scan_iter(match=pattern, count=1000):
        kind = (await client.type(key)).decode()
        if kind == "string":
            values.append(await client.get(key))
        elif kind == "hash":
            values.append(await client.hgetall(key))  # type: ignore[misc]  # redis-py types both its clients at once
        elif kind == "stream":
            values.append(await client.xrange(key))
    return values


async def test_a_question_is_seen_by_no_reader_and_goes_with_the_end(broker: Stack, redis_url: str) -> None:
    stream = await ask(broker.ports[0], Script(SECRET, chunks=8, fault=Fault("silence", after=5)))
    prefix, client = broker.settings["prefix"], open_client(redis_url)
    try:

        async def has_begun() -> bool:
            return bool((await state(broker.ports[1], stream))["status"] == "running")

        await eventually(has_begun, within_s=10)
        assert SECRET in str(await held(client, f"{prefix}:*{stream}"))
        for path in (f"/v1/streams/{stream}", "/v1/streams", "/v1/stats"):
            assert SECRET not in str(await call(broker.ports[1], "GET", path))

        await cancel(broker.ports[0], stream)
        history = await follow(broker.ports[1:2], stream)
        assert SECRET not in str(history)
        assert SECRET not in str(await held(client, f"{prefix}:*")), "it went in the step that ended the stream"
    finally:
        await client.aclose()


async def test_metadata_is_seen_until_the_stream_is_deleted(broker: Stack, redis_url: str) -> None:
    stream = await ask(broker.ports[0], Script("with-metadata", chunks=3), metadata={"label": LABEL})
    await follow(broker.ports[1:2], stream)
    client = open_client(redis_url)
    try:
        assert (await state(broker.ports[1], stream))["metadata"] == {"label": LABEL}
        assert LABEL in str(await call(broker.ports[1], "GET", "/v1/streams"))
        status, _ = await call(broker.ports[0], "DELETE", f"/v1/streams/{stream}")
        assert status == 204
        assert await held(client, f"{broker.settings['prefix']}:*:stream:{stream}") == []
        rest = await held(client, f"{broker.settings['prefix']}:*{stream}")
        assert LABEL not in str(rest), "a tombstone says only that there was something"
    finally:
        await client.aclose()
