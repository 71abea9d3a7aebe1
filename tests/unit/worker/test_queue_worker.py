"""What our worker relies on of arq, and the places it counts by."""

import asyncio
from importlib.metadata import version

import pytest

from services.worker.queue_worker import CHECKED_WITH
from services.worker.room import Room

__all__ = ()


def test_arq_is_the_version_whose_private_parts_were_read() -> None:
    """Another one: read arq/worker.py again (`_poll_iteration`, `tasks`, `run_job`), then say so in queue_worker.py."""
    assert version("arq").startswith(f"{CHECKED_WITH}.")


async def test_who_finds_no_place_waits_for_one() -> None:
    room = Room(2)
    room.take()
    await room.some()
    room.take()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await room.some()
    room.take()  # begun all the same
    room.give_back()
    assert room.free == 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await room.some()
    room.give_back()
    await room.some()
    assert room.free == 1
