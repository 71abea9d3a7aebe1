"""Readers of an edge that is older than the worker: what it does not know is told as it is, as one unit."""

import asyncio

import pytest

from shared.log import events
from shared.store.calls import Compact
from shared.store.redis.store import RedisStore
from shared.store.replies import Compacted
from tests.support.calls import state
from tests.support.newer import write_newer
from tests.support.sse_client import NDJSON, SSE, History, Item, follow, opened
from tests.support.stack import Stack
from tests.support.streams import append, begin, nonce, texts, write
from tests.support.waiting import eventually

__all__ = ()

CITATION = b'{"url":"https://example.org"}'
NEWER = frozenset({"citation"})
TEXT = "one two three"


async def author(log: RedisStore, stream_id: str) -> int:
    tail = await write(log, stream_id, "one ")
    tail = await write_newer(log, stream_id, "citation", CITATION, tail=tail)
    tail = await write(log, stream_id, "two ", tail=tail)
    tail = await write_newer(log, stream_id, "citation", CITATION, tail=tail)
    return await write(log, stream_id, "three", tail=tail)


async def listen(port: int, stream_id: str, wire: str, items: list[Item]) -> None:
    async with opened(port, "GET", f"/v1/streams/{stream_id}/events", headers={"accept": wire}) as answer:
        assert answer.status == 200
        items += [item async for item in answer.items() if item.data is not None]
        assert answer.is_complete


async def test_live_readers_of_every_wire_hear_it_and_miss_nothing(broker: Stack, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    heard: dict[tuple[int, str], list[Item]] = {
        (port, wire): [] for port in (broker.ports[0], broker.plain.port) for wire in (SSE, NDJSON)
    }
    async with asyncio.TaskGroup() as group:
        for (port, wire), items in heard.items():
            group.create_task(listen(port, stream_id, wire, items))
        await asyncio.sleep(0.2)  # most of it comes through the tail then; what does not is read
        tail = await author(log, stream_id)
        await append(log, stream_id, [events.done("stop")], tail=tail)
    for items in heard.values():
        history = History(stream_id, newer=NEWER)
        for item in items:
            history.take(item)
        assert (history.text(), history.resets, (history.ending or {})["type"]) == (TEXT, [], "done")
        cited = [item for item in items if (item.data or {})["type"] == "citation"]
        assert [item.data for item in cited] == [{"type": "citation", "url": "https://example.org"}] * 2
        assert [item.id for item in cited] == [f"1-5.{nonce(1)}", f"1-10.{nonce(1)}"]


@pytest.mark.parametrize("is_folded", [False, True], ids=["entries", "blocks"])
async def test_every_cursor_beside_it_is_good(broker: Stack, log: RedisStore, is_folded: bool) -> None:
    stream_id = await begin(log, tenant="public")
    tail = await author(log, stream_id)
    await append(log, stream_id, [*texts("."), events.done("stop")], tail=tail)
    if is_folded:
        (reply,) = await log.compact([Compact(stream_id)])
        assert isinstance(reply, Compacted)
    for offset in range(tail):
        history = History(stream_id, cursor=f"1-{offset}.{nonce(1)}", units=offset, attempt=1, newer=NEWER)
        await follow(broker.ports, stream_id, history=history, wires=(SSE, NDJSON))
        assert (TEXT + ".").endswith(history.text())
        assert history.resets == []
    found = await state(broker.ports[0], stream_id)
    assert found["content"] == [{"type": "text", "text": TEXT + "."}]


async def test_whoever_starts_over_is_told_what_is_known(broker: Stack, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    tail = await author(log, stream_id)
    await append(log, stream_id, [events.done("stop")], tail=tail)
    history = History(stream_id, cursor=f"1-9.{nonce(7)}", newer=NEWER)
    await follow(broker.ports, stream_id, history=history)
    assert (history.resets, history.text()) == (["log_lost"], TEXT)


async def test_a_worker_that_takes_over_reads_past_it(broker: Stack, log: RedisStore) -> None:
    """What a newer worker left is continued or begun anew, but never an end with an error of ours."""
    stream_id = await begin(
        log, tenant="public", lease_ms=1, request=b'{"model":"scripted","messages":[]}', model="scripted"
    )
    await author(log, stream_id)

    async def is_over() -> bool:
        meta = await log.meta(stream_id)
        return meta is not None and meta.is_over and meta.attempt > 1

    await eventually(is_over, within_s=30)
    meta = await log.meta(stream_id)
    assert meta is not None
    assert (meta.error or {}).get("code") not in {"internal", "worker_crash_loop", "worker_lost"}
