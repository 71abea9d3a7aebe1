"""A cancelled command ends, at whichever step of it the cancellation arrives."""

import asyncio

import pytest
from redis.asyncio import Redis

from shared.store.redis.client import open_client

__all__ = ()

STEPS = 40


@pytest.mark.parametrize("is_connected", [False, True], ids=["connecting", "connected"])
async def test_a_cancellation_is_never_swallowed(redis_url: str, is_connected: bool) -> None:
    client = open_client(redis_url)
    survivors = []
    try:
        for step in range(STEPS):
            if is_connected:
                await client.ping()
            else:
                await client.connection_pool.disconnect()
            async with asyncio.TaskGroup() as tasks:
                asking = tasks.create_task(_ask_for_ever(client))
                for _ in range(step):
                    await asyncio.sleep(0)
                asking.cancel()
                await asyncio.wait([asking], timeout=5)
                if not asking.done():
                    survivors.append(step)
                    asking.cancel()
    finally:
        await client.aclose()
    assert survivors == []


async def test_the_connection_serves_after_a_cancellation(redis_url: str) -> None:
    client = open_client(redis_url)
    try:
        async with asyncio.TaskGroup() as tasks:
            waiting = tasks.create_task(_wait(client))
            await asyncio.sleep(0)
            waiting.cancel()
        assert await client.ping() is True
    finally:
        await client.aclose()


async def _ask_for_ever(client: "Redis") -> None:
    while True:
        await client.ping()
        await asyncio.Event().wait()


async def _wait(client: "Redis") -> None:
    await client.execute_command("BLPOP", "test-nothing-here", 60)  # type: ignore[no-untyped-call]
