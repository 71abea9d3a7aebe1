"""Streams created straight in the store and pulled by real workers: what the worker tests share."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from shared.errors import StoreError
from shared.log.keys import Keyspace, new_id
from shared.queue.arq import ArqDispatcher, open_queue
from shared.store.calls import Interruption, NewStream
from shared.store.message import read_content
from shared.store.redis.store import RedisStore
from shared.store.replies import Created
from shared.store.state import Meta
from tests.support.script import Script
from tests.support.streams import RETENTION
from tests.support.waiting import eventually
from tests.support.worker import ProviderProcess, WorkerProcess, running_provider, running_worker

__all__ = ("FAST", "Pulling", "key", "parts_of", "pulling")

# Leases short enough that a test need not wait for them; the proportions are those of the defaults.
FAST: dict[str, float] = {"lease_s": 2.0, "heartbeat_s": 0.5, "sweep_s": 0.4, "dispatch_s": 1.0}


@dataclass(frozen=True, slots=True)
class Pulling:
    """Workers and providers on one Redis prefix."""

    store: RedisStore
    dispatcher: ArqDispatcher
    workers: Sequence[WorkerProcess]
    providers: Sequence[ProviderProcess]
    settings: dict[str, Any]

    async def create(
        self,
        script: Script,
        *,
        model: str = "scripted",
        interruption: Interruption | None = None,
        tenant: str = "public",
        dispatch_ms: int = 1000,
    ) -> str:
        """The id of a new stream that plays this script, dispatched. Nobody misses its job before `dispatch_ms`."""
        body = {"model": model, "messages": script.messages()}
        return await self.ask(body, interruption=interruption, tenant=tenant, dispatch_ms=dispatch_ms)

    async def ask(
        self,
        body: dict[str, Any],
        *,
        interruption: Interruption | None = None,
        tenant: str = "public",
        dispatch_ms: int = 1000,
    ) -> str:
        """The id of a new stream for this request, dispatched."""
        raw = orjson.dumps(body)
        fields: dict[str, Any] = {"interruption": interruption, "dispatch_ms": dispatch_ms}
        new = NewStream(new_id(buckets=4), tenant, body["model"], raw, **fields)
        assert isinstance(await self.store.create(new, RETENTION), Created)
        await self.dispatcher.dispatch(new.id, tenant=tenant)
        return new.id

    async def meta(self, stream_id: str) -> Meta:
        meta = await self.store.meta(stream_id)
        assert meta is not None
        return meta

    async def until_tail(self, stream_id: str, offset: int, *, within_s: float = 10.0) -> Meta:
        """Wait until the stream has grown to `offset` units."""

        async def has_grown() -> bool:
            return (await self.meta(stream_id)).tail >= offset

        await eventually(has_grown, within_s=within_s)
        return await self.meta(stream_id)

    async def until_running(self, *stream_ids: str, within_s: float = 10.0) -> None:
        """Wait until somebody has claimed each of them."""

        async def are_running() -> bool:
            return all([(await self.meta(each)).attempt for each in stream_ids])

        await eventually(are_running, within_s=within_s)

    async def until_over(self, stream_id: str, *, within_s: float = 20.0) -> Meta:
        async def is_over() -> bool:
            try:
                return (await self.meta(stream_id)).is_over
            except StoreError:
                return False  # the test may have broken the store

        await eventually(is_over, within_s=within_s)
        return await self.meta(stream_id)

    async def parts(self, stream_id: str) -> list[tuple[str, str]]:
        """The message in the log, in the shape of `expected`."""
        return parts_of((await read_content(self.store, stream_id)).parts())

    def worker_of(self, meta: Meta) -> WorkerProcess:
        """The process that holds a stream: workers are named host:pid:random."""
        pid = int(meta.worker.split(":")[-2])
        return next(worker for worker in self.workers if worker.process.pid == pid)


def parts_of(parts: Sequence[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(part["type"], part["arguments"] if part["type"] == "tool_call" else part["text"]) for part in parts]


@asynccontextmanager
async def pulling(
    store: RedisStore,
    redis_url: str,
    keys: Keyspace,
    *,
    workers: int = 2,
    continuations: Sequence[str] = ("prefill",),
    timeouts: str = "",
    entries: Sequence[str] = (),
    **settings: str | float,
) -> AsyncIterator[Pulling]:
    """Workers with one scripted provider for each of `continuations`, all serving the model `scripted`.

    `entries` are tables of other providers, to be asked in place of those.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="tailrace-pulling-")))
        providers = [stack.enter_context(running_provider()) for _ in (() if entries else continuations)]
        config = folder / "tailrace.toml"
        config.write_text(
            "\n".join(f"[[providers]]\n{entry}" for entry in entries)
            or "\n".join(
                f'[[providers]]\nname = "provider-{number}"\nbase_url = "{provider.base_url}"\n'
                f'models = ["scripted"]\ncontinuation = "{continuation}"\n{timeouts}'
                for number, (provider, continuation) in enumerate(zip(providers, continuations, strict=True))
            )
        )
        common: dict[str, Any] = {
            "redis_url": redis_url,
            "prefix": keys.prefix,
            "config": str(config),
            **FAST,
            **settings,
        }
        processes = [running_worker(**common) for _ in range(workers)]
        for process in processes:
            stack.callback(process.close)
            process.launch()
        for process in processes:
            process.wait_until(process.is_ready)
        queue = open_queue(str(common.get("queue_url", redis_url)), prefix=keys.prefix, timeout_s=5)
        dispatcher = ArqDispatcher(queue)
        stack.push_async_callback(dispatcher.aclose)
        yield Pulling(store, dispatcher, processes, providers, common)


def key() -> str:
    """A script key that no other test uses."""
    return secrets.token_hex(4)
