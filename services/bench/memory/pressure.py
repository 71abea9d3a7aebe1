"""Several times the memory budget pushed through one broker, beside streams that stay live all the time.

Creates, states and refusals go through a real edge; the answers are written here with the worker's own parts, because a
provider would make it slow and change nothing about memory. The queue is on another Redis: nobody pulls from it.

The peak is what Redis itself noted in the middle of its functions. Samples of `used_memory` every 20 ms missed up to a
tenth of the budget.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import orjson

from services.bench.author import Author, opened_author
from services.bench.options import Options
from services.bench.result import Check, Row, at_least, at_most
from services.bench.rig import MODEL, Rig
from services.worker.writing.writer import Writer
from shared.errors import StoreFull
from shared.log.events import delta

__all__ = ("pressure",)

_BUDGET_BYTES, _LEAST_BUDGET_BYTES = 24 * 2**20, 4 * 2**20
_TIMES: Final = 3
_LIVE: Final = 200
_ANSWER: Final = "A line of an answer that somebody will read once, perhaps.\n" * 350
_PIECE_CHARS: Final = 200
_WRITERS: Final = 8
_LIVE_PAUSE_S, _SAMPLE_S, _BUDGET_S = 0.25, 0.02, 0.5
_GONE_MOST: Final = 2_000
_BURST: Final = 24
# Above the budget, for what Redis needs itself: the library, the buffers of clients.
_MAXMEMORY_SHARE: Final = 1.1


@dataclass(slots=True)
class _Run:
    """The counts of one run while bytes are pushed through."""

    budget_bytes: int
    pushed_bytes: int = 0
    peak_bytes: int = 0
    peak_clients_bytes: int = 0
    refused: int = 0
    ids: list[str] = field(default_factory=list)


def pressure(options: Options) -> tuple[Sequence[Row], Sequence[Check]]:
    """With the budget alone, then with Redis' own limit just above it."""
    rows, checks = [], []
    for case in ("3 x the budget", "3 x the budget, maxmemory"):
        figures = _pushed(options, is_limited=case.endswith("maxmemory"))
        rows.append(Row(case, "tailrace", figures))
        checks += [
            at_most(f"{case}: peak / budget", figures["peak_share"], 1.1),
            at_most(f"{case}: live streams harmed", figures["live_harmed"], 0),
            at_least(f"{case}: evicted streams that answer 410", figures["gone_410_share"], 1),
            at_least(f"{case}: refused creates", figures["refused_503"], 1),
        ]
    return rows, checks


def _pushed(options: Options, *, is_limited: bool) -> dict[str, float]:
    budget_bytes = max(options.scaled(_BUDGET_BYTES), _LEAST_BUDGET_BYTES)
    with Rig() as rig, Rig() as queue:
        rig.provider(rate=1, tokens=1)
        edge = rig.edge(max_total_bytes=budget_bytes, queue_url=queue.redis_url)
        return asyncio.run(
            _push(rig.redis_url, edge.url, budget_bytes, live=min(options.scaled(_LIVE), _LIVE), is_limited=is_limited)
        )


async def _push(redis_url: str, edge_url: str, budget_bytes: int, *, live: int, is_limited: bool) -> dict[str, float]:
    run = _Run(budget_bytes)
    async with (
        opened_author(redis_url, max_total_bytes=budget_bytes, budget_s=_BUDGET_S) as author,
        aiohttp.ClientSession(edge_url) as http,
    ):
        baseline = await _baseline(author)
        if is_limited:
            limit = baseline + round(_MAXMEMORY_SHARE * budget_bytes)
            await author.store.client.config_set("maxmemory", limit)
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            background = [
                group.create_task(author.budget.run()),
                group.create_task(_sample(author, run, baseline)),
            ]
            talks = [_Talk(await author.begin()) for _ in range(live)]
            background += [group.create_task(talk.go_on()) for talk in talks]
            await asyncio.gather(*(_write(author, http, run) for _ in range(_WRITERS)))
            pushed_s = time.monotonic() - began
            refused = await _burst(http, budget_bytes)
            for task in background:
                task.cancel()
        harmed = [talk for talk in talks if not await talk.is_whole(author, http)]
        evicted = [stream_id for stream_id in run.ids if await author.store.meta(stream_id) is None]
        asked = evicted[:: 1 + len(evicted) // _GONE_MOST]
        gone = [await _status(http, stream_id) for stream_id in asked]
        usage = await author.store.usage()
        await _note_peak(author, run, baseline)
    return {
        "budget_mib": budget_bytes / 2**20,
        "pushed_mib": run.pushed_bytes / 2**20,
        "seconds": pushed_s,
        "peak_mib": run.peak_bytes / 2**20,
        "peak_clients_mib": run.peak_clients_bytes / 2**20,
        "peak_share": run.peak_bytes / budget_bytes,
        "baseline_mib": baseline / 2**20,
        "streams": len(run.ids),
        "evicted": usage.evicted,
        "asked": len(asked),
        "gone_410_share": gone.count(410) / len(gone),
        "refused_503": run.refused + refused,
        "live": live,
        "live_harmed": len(harmed),
    }


class _Talk:
    """A stream that is live all the time, and what was said in it."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._said: list[str] = []

    async def go_on(self) -> None:
        while True:
            self._said.append(f" {len(self._said)}")
            self._writer.add([delta("text", self._said[-1])])
            await asyncio.sleep(_LIVE_PAUSE_S)

    async def is_whole(self, author: Author, http: aiohttp.ClientSession) -> bool:
        await author.end(self._writer)
        async with http.get(f"/v1/streams/{self._writer.id}") as answer:
            state = orjson.loads(await answer.read())
        return bool(state["content"] == [{"type": "text", "text": "".join(self._said)}])


async def _baseline(author: Author) -> int:
    """Return what Redis uses with the functions loaded and one stream there, before anything is pushed."""
    writer = await author.begin()
    await author.end(writer)
    return (await author.store.server()).used_bytes


async def _sample(author: Author, run: _Run, baseline: int) -> None:
    while True:
        await _note_peak(author, run, baseline)
        await asyncio.sleep(_SAMPLE_S)


async def _note_peak(author: Author, run: _Run, baseline: int) -> None:
    info = await author.store.client.info("memory")
    run.peak_bytes = int(info["used_memory_peak"]) - baseline
    run.peak_clients_bytes = max(run.peak_clients_bytes, int(info["mem_clients_normal"]))


async def _write(author: Author, http: aiohttp.ClientSession, run: _Run) -> None:
    """Create and write streams, one after the other, until enough was pushed."""
    while run.pushed_bytes < _TIMES * run.budget_bytes:
        status, stream_id, retry_after_s = await _create(http, "hi")
        if status == 503:
            run.refused += 1
            await asyncio.sleep(retry_after_s)
            continue
        writer = await _adopted(author, stream_id)
        for start in range(0, len(_ANSWER), _PIECE_CHARS):
            writer.add([delta("text", _ANSWER[start : start + _PIECE_CHARS])])
            await writer.room()
        await author.end(writer)
        run.ids.append(stream_id)
        run.pushed_bytes += len(_ANSWER)


async def _adopted(author: Author, stream_id: str) -> Writer:
    """A worker whose claim is refused for want of memory leaves it to the next sweep; here that comes sooner."""
    while True:
        try:
            return await author.adopt(stream_id)
        except StoreFull:
            author.budget.hurry()
            await asyncio.sleep(_LIVE_PAUSE_S)


async def _burst(http: aiohttp.ClientSession, budget_bytes: int) -> int:
    """More and larger requests at once than there is room for. Answers how many were refused."""
    prompt = "x" * min(budget_bytes // 8, 2**20)
    burst = max(_BURST, budget_bytes // len(prompt))
    answers = await asyncio.gather(*(_create(http, prompt) for _ in range(burst)))
    return sum(status == 503 and retry_after_s > 0 for status, _, retry_after_s in answers)


async def _create(http: aiohttp.ClientSession, prompt: str) -> tuple[int, str, float]:
    body = {"model": MODEL, "messages": [{"role": "user", "content": prompt}]}
    async with http.post("/v1/streams", json=body) as answer:
        created = orjson.loads(await answer.read())
        return answer.status, created.get("id", ""), float(answer.headers.get("retry-after", 0))


async def _status(http: aiohttp.ClientSession, stream_id: str) -> int:
    async with http.get(f"/v1/streams/{stream_id}/events") as answer:
        return answer.status
