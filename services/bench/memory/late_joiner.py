"""A reader that comes after the end of a long answer: from a folded log, and from the same log chunk by chunk."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import aiohttp

from services.bench.author import Author, opened_author
from services.bench.options import Options
from services.bench.result import Check, Row, at_most
from services.bench.rig import Rig
from shared.log.events import delta, done
from shared.store.calls import Append

__all__ = ("late_joiner",)

_TOKENS: Final = 100_000
_TOKEN: Final = " tokn"
_BATCH: Final = 500
_NEVER: Final = 10**9


def late_joiner(options: Options) -> tuple[Sequence[Row], Sequence[Check]]:
    """Events, bytes and milliseconds until the end; medians over the runs."""
    tokens = options.scaled(_TOKENS)
    with Rig() as rig:
        edge = rig.edge()
        chunks, folded = asyncio.run(_both(rig.redis_url, edge.url, tokens, options.runs))
    case = f"a late reader of {tokens} tokens"
    rows = [Row(case, "every chunk", chunks), Row(case, "folded", folded)]
    return rows, [at_most(f"{case}: events", folded["events"], 3)]


async def _both(redis_url: str, edge_url: str, tokens: int, runs: int) -> tuple[dict[str, float], dict[str, float]]:
    async with opened_author(redis_url, fold_bytes=_NEVER) as author, aiohttp.ClientSession(edge_url) as http:
        stream_id = await _answer(author, tokens)
        chunks = await _median(http, stream_id, runs)
        await author.folded([stream_id])
        return chunks, await _median(http, stream_id, runs)


async def _answer(author: Author, tokens: int) -> str:
    """A finished stream, one entry a token."""
    writer = await author.begin()
    for start in range(0, tokens, _BATCH):
        batch = [delta("text", _TOKEN)] * min(_BATCH, tokens - start)
        tail = start * len(_TOKEN)
        append = Append(writer.id, writer.nonce, tail, batch, safe=tail)
        await author.store.append([append], author.settings.retention)
    tail = tokens * len(_TOKEN)
    end = Append(writer.id, writer.nonce, tail, [done("stop")], safe=tail)
    await author.store.append([end], author.settings.retention)
    return writer.id


async def _median(http: aiohttp.ClientSession, stream_id: str, runs: int) -> dict[str, float]:
    found = sorted([await _read(http, stream_id) for _ in range(runs)])
    lasted_s, held_bytes, events = found[len(found) // 2]
    return {"events": events, "bytes": held_bytes, "ms": lasted_s * 1000}


async def _read(http: aiohttp.ClientSession, stream_id: str) -> tuple[float, int, int]:
    """Seconds, bytes and events of the whole answer, `start` among them."""
    began = time.perf_counter()
    async with http.get(f"/v1/streams/{stream_id}/events") as answer:
        body = await answer.read()
    return time.perf_counter() - began, len(body), body.count(b"\ndata: ") + body.startswith(b"data: ")
