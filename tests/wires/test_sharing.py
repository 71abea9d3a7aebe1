"""Frames are made once however many read, and are the same whoever makes them: over a store in memory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from services.edge.delivery.delivery import Delivery
from services.edge.delivery.large_frames import LargeFrames
from services.edge.delivery.reader import Reader
from services.edge.delivery.reading import Judged
from services.edge.wires.registry import Wires
from services.edge.wires.wire import Wire, WireState
from shared.log import events
from shared.log.events import LogEntry
from shared.log.position import START, EventId, Position
from shared.settings.settings import Settings
from shared.store.calls import Compact
from shared.store.memory.store import MemoryStore
from shared.telemetry.metrics import Metrics
from tests.edge.test_reader import Page
from tests.support.streams import ALL, append, begin, nonce, texts
from tests.support.waiting import eventually
from tests.wires.hearing import HEARINGS, Hearing
from tests.wires.prototype import Prototype
from tests.wires.registered import WIRES
from tests.wires.test_every_wire import CALLS, MESSAGE, SPOKEN

__all__ = ()

BEGINNING = EventId(START, None)


class Counted(Prototype):
    """The prototype, which counts the frames that it is asked for."""

    def __init__(self) -> None:
        self.framed = 0

    def frame(self, event_id: str, entry: LogEntry, state: WireState) -> bytes:
        self.framed += 1
        return super().frame(event_id, entry, state)


@asynccontextmanager
async def running(store: MemoryStore, wires: Wires = WIRES) -> AsyncIterator[Delivery]:
    settings = Settings.model_validate({"edge_heartbeat_s": 60, "retry_ms": 50})
    delivery = Delivery(store, settings, Metrics.on(CollectorRegistry()), wires=wires)
    async with asyncio.TaskGroup() as group:
        task = group.create_task(delivery.run())
        try:
            yield delivery
        finally:
            task.cancel()


async def reader_at(delivery: Delivery, store: MemoryStore, stream_id: str, cursor: EventId, wire: Wire) -> Reader:
    snapshot = await store.read(stream_id, cursor.position, limit=ALL)
    assert snapshot is not None
    return Reader.judged(delivery.context, Judged.of(cursor, snapshot), wire=wire, is_fresh=cursor is BEGINNING)


def at(offset: int) -> EventId:
    return EventId(Position(1, offset), nonce(1))


def heard(page: Page, wire: Wire) -> Hearing:
    hearing = HEARINGS[wire.name]()
    hearing.feed(page.raw)
    return hearing


async def is_live(delivery: Delivery, reader: Reader) -> bool:
    return any(feed.is_live(reader) for feed in delivery.hub.feeds.values())


async def test_what_many_read_live_is_framed_once() -> None:
    store, wire = MemoryStore(), Counted()
    stream_id = await begin(store)
    async with running(store, Wires(wire)) as delivery, asyncio.timeout(20), asyncio.TaskGroup() as group:
        pages = [Page() for _ in range(5)]
        for page in pages:
            reader = await reader_at(delivery, store, stream_id, BEGINNING, wire)
            group.create_task(reader.run(page))
            await eventually(lambda reader=reader: is_live(delivery, reader))  # type: ignore[misc]
        await append(store, stream_id, [*MESSAGE, events.done("stop")])
    assert wire.framed == len(MESSAGE) + 1
    for page in pages:
        assert heard(page, wire).spoken() == SPOKEN
        assert heard(page, wire).calls() == CALLS
        assert page.is_complete


@pytest.mark.parametrize("wire", list(WIRES), ids=lambda wire: wire.name)
@pytest.mark.parametrize("buffer_bytes", [2**28, 0], ids=["frames are kept", "no frame is kept"])
async def test_a_block_that_goes_out_in_pieces_is_framed_again_as_it_was(wire: Wire, buffer_bytes: int) -> None:
    """After a call of another number, so that it takes the state before it to frame it."""
    store, long = MemoryStore(), "漢字かな" * 20_000
    stream_id = await begin(store)
    first = events.tool_call(7, "{}", call_id="call_a", name="f")
    pieces = [events.tool_call(9, "", call_id="call_b", name="g"), *[events.tool_call(9, long[:2000])] * 100]
    await append(store, stream_id, [first, *pieces, events.done("stop")])
    await store.compact([Compact(stream_id)])
    page = Page()
    async with running(store) as delivery, asyncio.timeout(20):
        delivery.context = replace(delivery.context, large_frames=LargeFrames(buffer_bytes=buffer_bytes))
        await (await reader_at(delivery, store, stream_id, BEGINNING, wire)).run(page)
    assert heard(page, wire).spoken() == [("tool_call", "{}"), ("tool_call", long[:2000] * 100)]
    assert heard(page, wire).calls() == [(0, "call_a", "f"), (1, "call_b", "g")]


@pytest.mark.parametrize("wire", list(WIRES), ids=lambda wire: wire.name)
async def test_whoever_is_sent_elsewhere_is_cut_and_not_ended(wire: Wire) -> None:
    """To foreign clients a clean end is the end, whatever was said before it."""
    store, page = MemoryStore(), Page()
    stream_id = await begin(store)
    await append(store, stream_id, texts("some text"))
    async with running(store) as delivery, asyncio.timeout(20), asyncio.TaskGroup() as group:
        reader = await reader_at(delivery, store, stream_id, BEGINNING, wire)
        group.create_task(reader.run(page))
        await eventually(lambda: is_live(delivery, reader))
        reader.leave()
    assert (page.is_cut, page.is_complete) == (True, False)
    assert heard(page, wire).ending is None


@pytest.mark.parametrize("cursor", [BEGINNING, at(20), at(49_500)], ids=["from the start", "before", "after"])
async def test_a_wire_with_a_state_ends_where_the_log_before_is_not_whole(cursor: EventId) -> None:
    """It cannot know any more what came before, and readers that share frames must not differ in it."""
    store, page, wire = MemoryStore(), Page(), Prototype()
    stream_id = await begin(store)
    await append(store, stream_id, [events.delta("text", "x" * 1000) for _ in range(50)])
    await store.compact([Compact(stream_id, nonce(1), max_bytes=15_000)])
    meta = await store.meta(stream_id)
    assert meta is not None
    assert 20 < meta.trimmed < 49_500
    async with running(store, Wires(wire)) as delivery, asyncio.timeout(20):
        await (await reader_at(delivery, store, stream_id, cursor, wire)).run(page)
    assert (heard(page, wire).ending, heard(page, wire).spoken(), page.is_complete) == ("gap", [], True)
