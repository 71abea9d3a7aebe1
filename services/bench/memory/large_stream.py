"""An answer larger than a stream may be: memory stays within the limit, and whoever misses something is told."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import aiohttp
import orjson

from services.bench.author import Author, opened_author
from services.bench.options import Options
from services.bench.result import Check, Row, at_least, at_most
from services.bench.rig import Rig
from services.worker.writing.writer import Writer
from shared.log.events import delta

__all__ = ("large_stream",)

_ANSWER_BYTES, _LIMIT_BYTES, _BLOCK_BYTES = 60 * 2**20, 50 * 2**20, 1_000_000
_PIECE_BYTES: Final = 4096
_AHEAD_BYTES: Final = 2**20
_LINE_BYTES: Final = 16 * 2**20
_PATIENCE_S: Final = 300.0


@dataclass(slots=True)
class _Heard:
    """The bytes of text that one reader got."""

    text_bytes: int = 0
    gap_bytes: int = 0
    gaps: int = 0
    more: asyncio.Event = field(default_factory=asyncio.Event)


def large_stream(options: Options) -> tuple[Sequence[Row], Sequence[Check]]:
    answer, limit = options.scaled(_ANSWER_BYTES), options.scaled(_LIMIT_BYTES)
    with Rig() as rig:
        edge = rig.edge()
        figures = asyncio.run(_watched(rig.redis_url, edge.url, answer, limit, options.scaled(_BLOCK_BYTES)))
    case = f"{answer / 2**20:.1f} MiB in a stream of at most {limit / 2**20:.1f}"
    checks = [
        at_most(f"{case}: counted / limit", figures["counted_share"], 1),
        at_most(f"{case}: peak of Redis / limit", figures["peak_share"], 1),
        at_least(f"{case}: a late reader is told of every byte it misses", figures["late_accounted_share"], 1),
        at_most(f"{case}: gaps of a late reader", figures["late_gaps"], 1),
        at_most(f"{case}: bytes a tailing reader misses", figures["tailing_missed_bytes"], 0),
    ]
    return [Row(case, "tailrace", figures)], checks


async def _watched(redis_url: str, edge_url: str, answer: int, limit: int, block: int) -> dict[str, float]:
    timeout = aiohttp.ClientTimeout(total=_PATIENCE_S)
    async with (
        opened_author(redis_url, max_stream_bytes=limit, block_bytes=block) as author,
        aiohttp.ClientSession(edge_url, timeout=timeout, read_bufsize=_LINE_BYTES) as http,
    ):
        empty = (await author.store.server()).used_bytes
        writer = await author.begin()
        tailing = _Heard()
        async with asyncio.TaskGroup() as group:
            group.create_task(_listen(http, writer.id, tailing))
            await _write(author, writer, tailing, answer)
        meta = await author.store.meta(writer.id)
        assert meta is not None
        late = _Heard()
        await _listen(http, writer.id, late)
        # As Redis itself saw it, in the middle of its functions and with the buffers of its clients.
        peak = int((await author.store.client.info("memory"))["used_memory_peak"])
    return {
        "answer_mib": answer / 2**20,
        "counted_share": meta.bytes / limit,
        "peak_share": (peak - empty) / limit,
        "trimmed_mib": meta.trimmed / 2**20,
        "late_gaps": late.gaps,
        "late_text_mib": late.text_bytes / 2**20,
        "late_accounted_share": (late.text_bytes + late.gap_bytes) / answer,
        "tailing_missed_bytes": answer - tailing.text_bytes,
    }


async def _write(author: Author, writer: Writer, tailing: _Heard, answer: int) -> None:
    """Write it all, no faster than a reader that keeps up."""
    written = 0
    while written < answer:
        size = min(_PIECE_BYTES, answer - written)
        writer.add([delta("text", "x" * size)])
        written += size
        await writer.room()
        if written // _PIECE_BYTES % 64 == 0:
            while written - tailing.text_bytes > _AHEAD_BYTES:
                tailing.more.clear()
                await tailing.more.wait()
    await author.end(writer)


async def _listen(http: aiohttp.ClientSession, stream_id: str, heard: _Heard) -> None:
    headers = {"accept": "application/x-ndjson"}
    async with http.get(f"/v1/streams/{stream_id}/events", headers=headers) as answer:
        async for line in answer.content:
            if line.strip():
                _take(heard, orjson.loads(line))


def _take(heard: _Heard, event: dict[str, str]) -> None:
    match event["type"]:
        case "text":
            heard.text_bytes += len(event["delta"].encode())
            heard.more.set()
        case "gap":
            heard.gaps += 1
            heard.gap_bytes += _offset(event["to"]) - _offset(event["from"])


def _offset(event_id: str) -> int:
    return int(event_id.partition("-")[2].partition(".")[0])
