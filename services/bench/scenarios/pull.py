"""Provider to acknowledged append: CPU per chunk of a worker, next to the OpenAI SDK doing nothing but the reading."""

import asyncio
import time
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

import aiohttp

from services.bench.agent import Agent
from services.bench.mark import TEXT_BYTES
from services.bench.options import Options
from services.bench.result import Result, Row, at_least, at_most, medians, ratio
from services.bench.rig import MODEL, Process, Rig
from services.bench.usage import cpu_s
from services.console.failure import Failure
from shared.log.keys import Keyspace
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore

__all__ = ("run",)

_STREAMS, _RATE = 200, 50
# As many chunks, of slower streams.
_MANY_STREAMS, _MANY_RATE = 1000, 10
# With more of them the SDK needs more than a core, and what comes late comes in larger reads.
_SDK_STREAMS = 40
_ENDLESS: Final = 1_000_000_000
_START_S: Final = 30.0


def run(options: Options) -> Result:
    rows = [_worker(options, streams=_STREAMS, rate=_RATE), _worker(options, streams=_MANY_STREAMS, rate=_MANY_RATE)]
    checks = [at_most("worker µs per chunk", rows[0].figures["worker_us"], 25)]
    if find_spec("openai") is None:
        return Result("pull", rows, checks, ["the package openai is not installed; its row is missing"])
    sdk = _sdk(options)
    checks.append(at_least("the SDK's µs / ours", ratio(sdk.figures["worker_us"], rows[0].figures["worker_us"]), 5))
    rows.append(sdk)
    return Result("pull", rows, checks)


def _worker(options: Options, *, streams: int, rate: float) -> Row:
    with Rig() as rig:
        provider = rig.provider(rate=rate, tokens=_ENDLESS, dialect=options.dialect)
        edge = rig.edge()
        worker = rig.worker()
        ids = asyncio.run(_created(edge, options.scaled(streams)))
        deadline = time.monotonic() + _START_S
        while min(_tails(rig, ids)) == 0:
            if time.monotonic() > deadline:
                raise Failure("the worker did not begin all streams")
            time.sleep(0.05)  # the state is in Redis: it can only be asked again
        time.sleep(options.warm_up_s)
        spoken = "" if options.dialect == "openai" else f", {options.dialect}"
        case = f"{options.scaled(streams)} streams{spoken}"
        return Row(case, "tailrace", medians(options.runs, lambda: _pulled(rig, ids, worker, provider, options)))


def _pulled(rig: Rig, ids: Sequence[str], worker: Process, provider: Process, options: Options) -> dict[str, float]:
    before, began = sum(_tails(rig, ids)), time.monotonic()
    used = {"worker": [worker.pid], "redis": [rig.redis.pid], "provider": [provider.pid]}
    at_first = {name: cpu_s(pids) for name, pids in used.items()}
    time.sleep(options.seconds)
    spent = {name: cpu_s(pids) - at_first[name] for name, pids in used.items()}
    chunks, lasted = (sum(_tails(rig, ids)) - before) / TEXT_BYTES, time.monotonic() - began
    return {"chunks_per_s": chunks / lasted} | _per_chunk(spent, chunks)


def _sdk(options: Options) -> Row:
    with Rig() as rig:
        provider = rig.provider(rate=_RATE, tokens=_ENDLESS)
        agent = rig.agent("sdk_peer", base_url=f"{provider.url}/v1", streams=options.scaled(_SDK_STREAMS))
        agent.hear()
        time.sleep(options.warm_up_s)
        return Row(
            f"{options.scaled(_SDK_STREAMS)} streams",
            "openai sdk, reading only",
            medians(options.runs, lambda: _read(agent, options)),
        )


def _read(agent: Agent, options: Options) -> dict[str, float]:
    before, began = agent.ask("mark"), time.monotonic()
    time.sleep(options.seconds)
    after, lasted = agent.ask("report", timeout_s=_START_S), time.monotonic() - began
    chunks = after["chunks"] - before["chunks"]
    return {"chunks_per_s": chunks / lasted} | _per_chunk({"worker": after["cpu_s"] - before["cpu_s"]}, chunks)


def _per_chunk(spent: dict[str, float], chunks: float) -> dict[str, float]:
    return {f"{name}_us": seconds / max(chunks, 1) * 1e6 for name, seconds in spent.items()}


async def _created(edge: Process, streams: int) -> list[str]:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}]}
    ids = []
    async with aiohttp.ClientSession(edge.url) as session:
        for _ in range(streams):
            async with session.post("/v1/streams", json=body) as response:
                ids.append((await response.json())["id"])
    return ids


def _tails(rig: Rig, ids: Sequence[str]) -> list[int]:
    return asyncio.run(_ask_tails(rig.redis_url, ids))


async def _ask_tails(url: str, ids: Sequence[str]) -> list[int]:
    store = RedisStore(open_client(url), Keyspace())
    metas = [await store.meta(each) for each in ids]
    await store.aclose()
    return [meta.tail if meta else 0 for meta in metas]
