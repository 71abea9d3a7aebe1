"""Threads: by what ids the streams of a chat or a run are found."""

import pytest

from services.edge.access.caller import Caller
from services.edge.threads import Threads
from shared.errors import Forbidden
from shared.settings.settings import Settings
from shared.store.memory.store import MemoryStore

__all__ = ()

ACME, OTHER = Caller("acme"), Caller("other")
STREAM = "3f" + "1" * 30


async def test_a_thread_is_its_tenants_and_its_apis_own() -> None:
    threads = Threads(MemoryStore(), Settings())
    await threads.lead(ACME, "ai-sdk", "chat-7", STREAM)
    assert await threads.current(ACME, "ai-sdk", "chat-7") == STREAM
    assert await threads.current(OTHER, "ai-sdk", "chat-7") is None
    assert await threads.current(ACME, "ag-ui", "chat-7") is None
    assert await threads.current(ACME, "ai-sdk", "chat-70") is None


async def test_it_takes_the_rights_to_create_and_to_read() -> None:
    threads, nobody = Threads(MemoryStore(), Settings()), Caller("acme", frozenset())
    with pytest.raises(Forbidden):
        await threads.lead(nobody, "ai-sdk", "chat-7", STREAM)
    with pytest.raises(Forbidden):
        await threads.current(nobody, "ai-sdk", "chat-7")
