"""Writes streams from this process with the worker's own parts: writer, appender, compactor. No provider, no job."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

from prometheus_client import CollectorRegistry

from services.worker.attempts.attempt import answered
from services.worker.upkeep.budget import Budget
from services.worker.writing.appender import Appender
from services.worker.writing.compactor import Compactor
from services.worker.writing.writer import Writer
from shared.log import events
from shared.log.keys import Keyspace, new_id
from shared.settings.settings import Settings
from shared.store.calls import Claim, NewStream
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from shared.store.replies import Claimed
from shared.telemetry.metrics import Metrics

__all__ = ("TENANT", "Author", "opened_author")

# Whose streams an edge without authentication shows.
TENANT: Final = "public"
_NONCE: Final = "0badcafe"
_PROVIDER: Final = "openai"
# What OpenAI reports, of an answer of 500 tokens.
_COUNTS: Final = {
    "input_tokens": 1234,
    "output_tokens": 500,
    "total_tokens": 1734,
    "reasoning_tokens": 0,
    "cached_tokens": 1024,
}
_HOUR_MS: Final = 3_600_000
_REQUEST: Final = b'{"model":"bench","messages":[{"role":"user","content":"hi"}]}'
_FOLD_PAUSE_S: Final = 0.01


class Author:
    """Begins streams, and ends them. Whoever wants them folded afterwards says so."""

    def __init__(self, store: RedisStore, settings: Settings) -> None:
        metrics = Metrics.on(CollectorRegistry())
        self.store = store
        self.settings = settings
        self.budget = Budget(store, settings, metrics)
        self.compactor = Compactor(store, settings, metrics, on_full=self.budget.hurry)
        self.appender = Appender(store, self.compactor, settings, metrics)

    def __repr__(self) -> str:
        return f"<Author {self.appender!r}>"

    async def begin(self) -> Writer:
        """A new stream with this process as its writer."""
        new = NewStream(new_id(buckets=self.settings.buckets), TENANT, "bench", _REQUEST, digest="0" * 64)
        await self.store.create(new, self.settings.retention)
        return await self.adopt(new.id)

    async def adopt(self, stream_id: str) -> Writer:
        """Become the writer of a stream that an edge has created."""
        claim = Claim(_NONCE, "host-1:12345:abcd", _HOUR_MS)
        claimed = await self.store.claim(stream_id, claim, self.settings.retention)
        assert isinstance(claimed, Claimed)
        writer = self.appender.open(stream_id, attempt=claimed.attempt, nonce=_NONCE, tail=claimed.keep)
        writer.note({"provider": _PROVIDER})
        return writer

    async def say(self, writer: Writer, text: str) -> None:
        """One delta, acknowledged before the next can join it: as a provider's tokens come, one by one."""
        writer.add([events.delta("text", text)])
        await writer.flushed()

    async def end(self, writer: Writer) -> None:
        """As a worker ends the answer of a provider that counts tokens."""
        event, updates = answered("stop", {writer.attempt: {"provider": _PROVIDER, **_COUNTS}})
        writer.note(updates)
        writer.add([events.usage(_COUNTS), event])
        await writer.flushed()

    async def folded(self, stream_ids: Sequence[str]) -> None:
        """Wait until finished streams are folded completely."""
        left = list(stream_ids)
        while left:
            await self.budget.tidy()
            metas = [await self.store.meta(stream_id) for stream_id in left]
            left = [meta.id for meta in metas if meta and meta.folded < meta.tail - 1]
            if left:
                await asyncio.sleep(_FOLD_PAUSE_S)


@asynccontextmanager
async def opened_author(redis_url: str, **settings: Any) -> AsyncIterator[Author]:
    """An author whose appender and compactor run until the end of the block."""
    given: dict[str, Any] = {"redis_url": redis_url, "fold_after_s": 0.001} | settings
    values = Settings.model_construct(**given)
    store = RedisStore(open_client(redis_url), Keyspace())
    author = Author(store, values)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(part.run()) for part in (author.appender, author.compactor)]
            yield author
            for task in tasks:
                task.cancel()
    finally:
        await store.aclose()
