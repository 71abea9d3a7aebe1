"""Memory of Redis for answers of 500 tokens of 5 bytes: ours live and folded, and the ways that others store them."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from services.bench.author import Author, opened_author
from services.bench.options import Options
from services.bench.result import Check, Row, at_most
from services.bench.rig import Rig
from shared.store.redis.client import open_client

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ("CASE", "bytes_per_token")

CASE: Final = "500 tokens of 5 bytes"
_STREAMS, _TOKENS = 200, 500
_TOKEN: Final = " tokn"
# As servers write chunks that have to be put in order again: a number and a time in each.
_JSON: Final = '{"type":"text","delta":" tokn","seq":%d,"ts":1790000000000}'


def bytes_per_token(options: Options) -> tuple[Sequence[Row], Sequence[Check]]:
    """Bytes that Redis uses; `log` is what the keys of the text take, `all` everything that a stream leaves there."""
    streams = options.scaled(_STREAMS)
    with Rig() as rig:
        live, folded = asyncio.run(_ours(rig.redis_url, streams))
        peers = asyncio.run(_peers(rig.redis_url, streams))
    rows = [
        Row(CASE, "tailrace live", live),
        Row(CASE, "tailrace folded", folded),
        *(Row(CASE, name, {"log_bytes": held, "all_bytes": held}) for name, held in peers.items()),
    ]
    checks = [
        at_most("bytes per token, log, live", live["log_bytes"], 26),
        at_most("bytes per token, everything, live", live["all_bytes"], 26),
        at_most("bytes per token, log, folded", folded["log_bytes"], 9),
    ]
    return rows, checks


async def _ours(redis_url: str, streams: int) -> tuple[dict[str, float], dict[str, float]]:
    async with opened_author(redis_url) as author:
        await _warm_up(author)
        live = await _measured(author, streams, is_finished=False)
        return live, await _measured(author, streams, is_finished=True)


async def _measured(author: Author, streams: int, *, is_finished: bool) -> dict[str, float]:
    """Bytes a token of everything, then of the logs alone: what becomes free when their keys go."""
    client = author.store.client
    empty = await _used(client)
    ids = await _answers(author, streams, is_finished=is_finished)
    whole = await _used(client)
    await client.delete(*(key for stream_id in ids for key in author.store.keys.of_stream(stream_id)[:2]))
    log = whole - await _used(client)
    return {"log_bytes": log / streams / _TOKENS, "all_bytes": (whole - empty) / streams / _TOKENS}


async def _answers(author: Author, streams: int, *, is_finished: bool) -> list[str]:
    writers = [await author.begin() for _ in range(streams)]
    for _ in range(_TOKENS):
        await asyncio.gather(*(author.say(writer, _TOKEN) for writer in writers))
    ids = [writer.id for writer in writers]
    if is_finished:
        await asyncio.gather(*(author.end(writer) for writer in writers))
        await author.folded(ids)
    return ids


async def _warm_up(author: Author) -> None:
    """Load the functions and make every shared key, so that none of it counts for the tokens."""
    writer = await author.begin()
    await author.say(writer, _TOKEN)
    await author.end(writer)
    await author.folded([writer.id])


async def _used(client: "Redis") -> int:
    """The memory of the keys: what Redis uses without the buffers of its clients."""
    info = await client.info("memory")
    return int(info["used_memory"]) - int(info["mem_clients_normal"])


async def _peers(redis_url: str, streams: int) -> dict[str, float]:
    client = open_client(redis_url)
    ways: dict[str, Callable[[Any, str, int], Awaitable[Any]]] = {
        "XADD MAXLEN of JSON": lambda pipe, key, number: pipe.xadd(key, {"data": _JSON % number}, maxlen=10_000),
        "RPUSH of JSON": lambda pipe, key, number: pipe.rpush(key, _JSON % number),
    }
    held = {}
    for name, write in ways.items():
        await client.flushdb()
        empty = await _used(client)
        for stream in range(streams):
            async with client.pipeline(transaction=False) as pipe:
                for number in range(_TOKENS):
                    await write(pipe, f"stream:{stream:032x}", number)
                await pipe.execute()
        held[name] = (await _used(client) - empty) / streams / _TOKENS
    await client.aclose()
    return held
