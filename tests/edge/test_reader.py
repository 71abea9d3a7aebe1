"""The reader, the hub and the tail over a store in memory: what takes luck to meet on real sockets."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from starlette.responses import Response

from services.edge.access.caller import Caller
from services.edge.api.answers.state import StateResponses
from services.edge.carriers.carrier import Disconnected, Headers
from services.edge.carriers.uvicorn_protocol import DirectSocket
from services.edge.delivery.delivery import Delivery
from services.edge.delivery.hub import Hub
from services.edge.delivery.reader import Reader
from services.edge.delivery.reading import Judged
from services.edge.streams import Streams
from services.edge.wires.notices import Heartbeat
from services.edge.wires.sse import SSE
from shared.errors import StoreUnavailable, StreamDeleted, UnknownStream
from shared.log import events
from shared.log.events import LogEntry
from shared.log.position import START, EventId, Position
from shared.queue.workers import WorkerSeen
from shared.settings.settings import Settings
from shared.store.calls import Compact
from shared.store.memory.store import MemoryStore
from shared.store.state import Snapshot
from shared.store.store import Tailer
from shared.telemetry.metrics import Metrics
from tests.support.sse_client import History, Item, SseParser
from tests.support.streams import ALL, RETENTION, TENANT, append, begin, claim, nonce, texts, write
from tests.support.waiting import eventually

__all__ = ()

BEGINNING = EventId(START, None)


class Page:
    """A carrier that keeps what it is given and never stalls. It wraps nothing: what it takes is what was meant."""

    wrap = staticmethod(bytes)

    def __init__(self) -> None:
        self.raw = b""
        self.is_complete = False
        self.is_cut = False
        self.is_lost = False
        self.direct: DirectSocket | None = None

    async def start(self, headers: Headers) -> None:
        return None

    async def ready(self) -> None:
        if self.is_lost:
            raise Disconnected

    async def send(self, payload: bytes) -> None:
        await self.ready()
        self.raw += payload

    def write(self, wrapped: bytes) -> DirectSocket | None:
        self.raw += wrapped
        return self.direct

    async def end(self) -> None:
        self.is_complete = True

    async def cut(self) -> None:
        self.is_cut = True

    def abort(self) -> None:
        self.is_lost = True

    async def drop(self) -> None:
        self.abort()

    def release(self) -> None:
        return None

    @property
    def items(self) -> list[Item]:
        return SseParser().feed(self.raw)

    @property
    def history(self) -> History:
        history = History()
        for item in self.items:
            history.take(item)
        return history


class FailingStore(MemoryStore):
    """A store that cannot answer reads while `is_down`, and counts them."""

    is_down = False
    reads = 0

    async def read(self, stream_id: str, after: Position, *, limit: int) -> Snapshot | None:
        self.reads += 1
        if self.is_down:
            raise StoreUnavailable
        return await super().read(stream_id, after, limit=limit)


@asynccontextmanager
async def running_delivery(store: MemoryStore, **settings: object) -> AsyncIterator[Delivery]:
    chosen = Settings.model_validate({"edge_heartbeat_s": 0.2, "retry_ms": 50} | settings)
    delivery = Delivery(store, chosen, Metrics.on(CollectorRegistry()))
    async with asyncio.TaskGroup() as group:
        running = group.create_task(delivery.run())
        try:
            yield delivery
        finally:
            running.cancel()


async def snapshot_of(store: MemoryStore, stream_id: str, after: Position = START, *, limit: int = ALL) -> Snapshot:
    snapshot = await store.read(stream_id, after, limit=limit)
    assert snapshot is not None
    return snapshot


def reader_of(delivery: Delivery, snapshot: Snapshot, cursor: EventId = BEGINNING) -> Reader:
    return Reader.judged(delivery.context, Judged.of(cursor, snapshot), wire=SSE)


def at(offset: int, attempt: int = 1) -> EventId:
    return EventId(Position(attempt, offset), nonce(attempt))


async def test_a_reader_that_comes_while_the_edge_goes_is_sent_on_at_once() -> None:
    store, page = MemoryStore(), Page()
    stream_id = await begin(store)
    await write(store, stream_id, "something")
    async with running_delivery(store) as delivery:
        await delivery.readers.drain(0.1)
        await reader_of(delivery, await snapshot_of(store, stream_id)).run(page)
        assert not delivery.readers
    assert page.history.reconnect is not None
    assert page.is_cut
    assert not page.is_complete


async def test_draining_without_readers_takes_no_time() -> None:
    async with running_delivery(MemoryStore()) as delivery, asyncio.timeout(1):
        await delivery.readers.drain(60)


@pytest.mark.parametrize("how", ["disconnect", "abort", "stall", "leave"])
async def test_who_steps_back_is_not_written_to_in_the_same_breath(how: str) -> None:
    """Before its own task runs again there may be news, and its socket may be closed or have something to go first."""
    store = MemoryStore()
    stream_id = await begin(store)
    ours, theirs = socket.socketpair()
    async with running_delivery(store, edge_heartbeat_s=60) as delivery:
        page, reader = Page(), reader_of(delivery, await snapshot_of(store, stream_id))
        page.direct = ours
        running = asyncio.create_task(reader.run(page))
        await eventually(lambda: is_live(delivery.hub, reader))
        for offset in (1, 2):
            await delivery.hub.deliver({stream_id: [news("a", offset)]})
        assert theirs.recv(4096).count(b'"delta":"a"') == 1  # the other went by the carrier, which then offered `ours`
        getattr(reader, how)()
        await delivery.hub.deliver({stream_id: [news("b", 3)]})
        theirs.setblocking(False)
        with pytest.raises(BlockingIOError):
            theirs.recv(4096)
        assert b'"b"' not in page.raw
        running.cancel()
    ours.close()
    theirs.close()


def news(delta: str, end: int) -> LogEntry:
    return LogEntry(Position(1, end), events.delta("text", delta))


async def is_live(hub: Hub, reader: Reader) -> bool:
    return any(feed.is_live(reader) for feed in hub.feeds.values())


class Filling(Page):
    """An carrier whose buffer is full after the next heartbeat, until it has drained."""

    def __init__(self) -> None:
        super().__init__()
        self.room = asyncio.Event()
        self.room.set()
        self.on_stall: Callable[[], None] = lambda: None

    async def ready(self) -> None:
        await self.room.wait()

    async def send(self, payload: bytes) -> None:
        await super().send(payload)
        if payload == SSE.notice(Heartbeat(), None):
            self.room.clear()
            self.on_stall()


async def test_a_reader_whose_heartbeat_fills_its_buffer_waits_for_room_before_it_is_live() -> None:
    """A stall is told once: whoever is live behind it is written to without an end."""
    store, page = MemoryStore(), Filling()
    stream_id = await begin(store)
    async with running_delivery(store, edge_heartbeat_s=60) as delivery:
        reader = reader_of(delivery, await snapshot_of(store, stream_id))
        page.on_stall = reader.stall
        reader.heartbeat()
        running = asyncio.create_task(reader.run(page))
        await eventually(lambda: is_full(page))
        assert not await is_live(delivery.hub, reader)
        page.room.set()
        await eventually(lambda: is_live(delivery.hub, reader))
        running.cancel()


async def is_full(page: Filling) -> bool:
    return not page.room.is_set()


async def test_a_reader_goes_on_when_redis_has_lost_the_end_it_was_opened_with() -> None:
    """Opened on a finished stream, the second page finds it running: no busy loop, and the new end arrives."""
    store, lost = FailingStore(), MemoryStore()
    stream_id = await begin(store)
    tail = await write(store, stream_id, "abc", "def")
    await begin(lost, stream_id=stream_id)
    await append(lost, stream_id, [*texts("abc", "def", "ghi"), events.done("stop")])
    ended = await snapshot_of(lost, stream_id)
    page = Page()
    async with running_delivery(store) as delivery, asyncio.timeout(10):
        reader = reader_of(delivery, Snapshot(ended.meta, ended.entries[:3]))
        async with asyncio.TaskGroup() as group:
            group.create_task(reader.run(page))
            await eventually(lambda: holds(page, "abcdef"))
            reads = store.reads
            await append(store, stream_id, [*texts("xyz"), events.done("stop")], tail=tail)
        assert store.reads - reads < 5
    assert (page.history.text(), page.is_complete) == ("abcdefxyz", True)


async def holds(page: Page, text: str) -> bool:
    return page.history.text() == text


async def test_a_reader_is_kept_warm_while_the_store_is_down() -> None:
    store, page = FailingStore(), Page()
    stream_id = await begin(store)
    await append(store, stream_id, [*texts("abc", "def"), events.done("stop")])
    whole = await snapshot_of(store, stream_id)
    async with running_delivery(store) as delivery, asyncio.timeout(10), asyncio.TaskGroup() as group:
        store.is_down = True
        running = group.create_task(reader_of(delivery, Snapshot(whole.meta, whole.entries[:2])).run(page))
        await eventually(lambda: has_heartbeats(page, 3))
        assert not running.done()
        store.is_down = False
    assert (page.history.text(), page.is_complete) == ("abcdef", True)


async def test_a_reader_that_has_to_start_over_is_kept_warm_while_the_store_is_down() -> None:
    store, page = FailingStore(), Page()
    stream_id = await begin(store, lease_ms=-1000)
    await write(store, stream_id, "abc", "def")
    await claim(store, stream_id, 2)
    await append(store, stream_id, [*texts("new"), events.done("stop")], number=2)
    held = await snapshot_of(store, stream_id, Position(1, 6))
    async with running_delivery(store) as delivery, asyncio.timeout(10), asyncio.TaskGroup() as group:
        store.is_down = True
        running = group.create_task(reader_of(delivery, held, at(6)).run(page))
        await eventually(lambda: has_heartbeats(page, 3))
        assert not running.done()
        store.is_down = False
    assert (page.history.resets, page.history.text(), page.is_complete) == (["new_attempt"], "new", True)


LONG = "".join(letter * 500 for letter in "abcdefgh")


async def trimmed_stream(store: MemoryStore) -> str:
    """A finished stream of which the beginning is gone: what is left of `LONG`."""
    stream_id, tail = await begin(store), 0
    for start in range(0, len(LONG), 500):
        tail = await write(store, stream_id, LONG[start : start + 500], tail=tail)
        await store.compact([Compact(stream_id, nonce(1), block_bytes=1_000, max_bytes=2_500)])
    await append(store, stream_id, [events.done("stop")], tail=tail)
    assert (await snapshot_of(store, stream_id)).meta.trimmed > 0
    return stream_id


async def test_who_starts_over_in_a_trimmed_log_is_told_the_gap() -> None:
    """A reset with the parts that are left would pass them off as the whole message."""
    store, page = MemoryStore(), Page()
    snapshot = await snapshot_of(store, await trimmed_stream(store))
    trimmed = snapshot.meta.trimmed
    lost = EventId(Position(1, 500), "ffffffff")
    async with running_delivery(store) as delivery, asyncio.timeout(10):
        await reader_of(delivery, snapshot, lost).run(page)
    told = [(item.id, item.data or {}) for item in page.items if item.data is not None]
    assert told[0] == (None, {"type": "reset", "reason": "log_lost", "parts": []})
    assert told[1] == (str(at(trimmed)), {"type": "gap", "from": "0-0", "to": str(at(trimmed)), "reason": "trimmed"})
    rest = "".join(data["delta"] for _, data in told if data["type"] == "text")
    assert rest == LONG[trimmed:]
    assert page.is_complete


async def test_the_state_of_a_trimmed_stream_says_what_its_content_lacks() -> None:
    store = MemoryStore()
    stream_id = await trimmed_stream(store)
    async with running_delivery(store) as delivery:
        meta = await Streams(store, NoQueue(), delivery, Settings()).state(Caller(TENANT), stream_id)
        state = await body_of(StateResponses(store, Settings()).of(meta))
    assert state["content"] == [{"type": "text", "text": LONG[state["trimmed_units"] :]}]
    assert state["trimmed_units"] > 0


async def body_of(response: Response) -> Any:
    """What a response sends to a server that offers no transport."""
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        raise AssertionError

    await response({"type": "http", "http_version": "1.1"}, receive, send)
    assert sent[0]["status"] == 200
    return json.loads(b"".join(message["body"] for message in sent[1:]))


async def has_heartbeats(page: Page, number: int) -> bool:
    return page.raw.count(b": hb") >= number


class Stumbling:
    """A tailer that fails in a way nobody thought of, now and then."""

    def __init__(self, real: Tailer) -> None:
        self._real = real
        self._reads = 0

    async def read(
        self, cursors: Mapping[str, Position], *, count: int, block_ms: int | None
    ) -> Mapping[str, Sequence[LogEntry]]:
        self._reads += 1
        if self._reads % 3 == 0:
            raise RuntimeError("nobody thought of this")
        return await self._real.read(cursors, count=count, block_ms=min(block_ms or 0, 20) or None)

    async def interrupt(self) -> None:
        await self._real.interrupt()

    async def aclose(self) -> None:
        await self._real.aclose()


class StumblingStore(MemoryStore):
    def tailer(self) -> Tailer:
        return Stumbling(super().tailer())


async def test_a_bug_in_a_read_does_not_end_the_tail(caplog: pytest.LogCaptureFixture) -> None:
    store, page = StumblingStore(), Page()
    stream_id = await begin(store)
    async with running_delivery(store) as delivery, asyncio.timeout(20):
        reader = reader_of(delivery, await snapshot_of(store, stream_id))
        async with asyncio.TaskGroup() as group:
            group.create_task(reader.run(page))
            tail = 0
            for number in range(10):
                tail = await write(store, stream_id, f"{number} ", tail=tail)
                said = "".join(f"{n} " for n in range(number + 1))
                await eventually(lambda said=said: holds(page, said))  # type: ignore[misc]
            await append(store, stream_id, [events.done("stop")], tail=tail)
    assert page.is_complete
    assert "nobody thought of this" in caplog.text


# Coming back to a stream that others read here.


class NoQueue:
    """Nothing is created here."""

    async def watch(self) -> None:
        """Nobody has to."""

    async def dispatch(self, stream_id: str, *, tenant: str) -> bool:
        raise AssertionError(stream_id, tenant)

    async def workers(self) -> Sequence[WorkerSeen]:
        return []

    async def aclose(self) -> None:
        return None


CALLER = Caller(TENANT)


@asynccontextmanager
async def followed(store: MemoryStore, *said: str) -> AsyncIterator[tuple[Hub, Streams, str]]:
    """A stream that one reader has read here from its start."""
    stream_id, page = await begin(store), Page()
    async with running_delivery(store) as delivery, asyncio.timeout(20), asyncio.TaskGroup() as group:
        streams = Streams(store, NoQueue(), delivery, Settings())
        first = await streams.open(CALLER, stream_id, None, SSE)
        assert first is not None
        running = group.create_task(first.run(page))
        await eventually(lambda: is_current(delivery.hub, stream_id))
        await write(store, stream_id, *said)
        await eventually(lambda: holds(page, "".join(said)))
        yield delivery.hub, streams, stream_id
        running.cancel()


async def is_current(hub: Hub, stream_id: str) -> bool:
    return hub.current(stream_id) is not None


async def opened(streams: Streams, stream_id: str, cursor: EventId) -> Reader:
    reader = await streams.open(CALLER, stream_id, str(cursor), SSE)
    assert reader is not None
    return reader


async def heard(reader: Reader, text: str, *, whole: bool = False) -> None:
    """That the reader gets this text and no more; with `whole`, that its stream then ends."""
    page = Page()
    running = asyncio.create_task(reader.run(page))
    await eventually(lambda: has_rest(page, text))
    if whole:
        await running
        assert page.is_complete
    running.cancel()
    await asyncio.wait([running])
    assert await has_rest(page, text)


async def has_rest(page: Page, text: str) -> bool:
    said = [item.data for item in page.items if item.data is not None]
    return "".join(str(data.get("delta", "")) for data in said) == text


async def test_who_comes_back_to_a_followed_stream_needs_nothing_from_redis() -> None:
    store = FailingStore()
    async with followed(store, "abc", "def") as (hub, streams, stream_id):
        store.reads, store.is_down = 0, True
        for offset, rest in ((3, "def"), (4, "ef"), (6, "")):
            await heard(await opened(streams, stream_id, at(offset)), rest)
        last = await opened(streams, stream_id, at(6))
        await append(store, stream_id, [*texts("ghi"), events.done("stop")], tail=6)
        await heard(last, "ghi", whole=True)
        assert not hub.feeds


async def test_what_the_first_to_come_back_was_given_serves_those_who_come_with_it() -> None:
    """All were cut at the same place, a while ago: one page of Redis for all of them."""
    store, page = FailingStore(), Page()
    stream_id = await begin(store)
    await write(store, stream_id, "abc", "def", "ghi")
    async with running_delivery(store) as delivery, asyncio.timeout(20), asyncio.TaskGroup() as group:
        streams = Streams(store, NoQueue(), delivery, Settings())
        running = group.create_task((await opened(streams, stream_id, at(3))).run(page))
        await eventually(lambda: has_rest(page, "defghi"))
        store.reads = 0
        for offset, rest in ((3, "defghi"), (6, "ghi"), (7, "hi")):
            await heard(await opened(streams, stream_id, at(offset)), rest)
        assert store.reads == 0
        # Who is further back reads for itself, and what it gets leads up to what is kept already.
        await heard(await opened(streams, stream_id, at(1)), "bcdefghi")
        await heard(await opened(streams, stream_id, at(2)), "cdefghi")
        assert store.reads == 1
        running.cancel()


class Looked(list[LogEntry]):
    """Entries that know how often somebody went through them."""

    times = 0

    def __iter__(self) -> Iterator[LogEntry]:
        self.times += 1
        return super().__iter__()


class LookedAtStore(MemoryStore):
    """A store that keeps the entries of its reads."""

    def __init__(self) -> None:
        super().__init__()
        self.looked: list[Looked] = []

    async def read(self, stream_id: str, after: Position, *, limit: int) -> Snapshot | None:
        snapshot = await super().read(stream_id, after, limit=limit)
        if snapshot is None:
            return None
        self.looked.append(Looked(snapshot.entries))
        return Snapshot(snapshot.meta, self.looked[-1])


@pytest.mark.parametrize("is_over", [False, True], ids=["live", "finished"])
async def test_the_verdict_on_a_cursor_is_reached_once(is_over: bool) -> None:
    """What the route learns of a cursor goes on to whoever serves it, and to the feed that it begins."""
    store = LookedAtStore()
    stream_id = await begin(store)
    await write(store, stream_id, "abc", "def")
    if is_over:
        await append(store, stream_id, [events.done("stop")], tail=6)
    async with running_delivery(store) as delivery, asyncio.timeout(20):
        streams = Streams(store, NoQueue(), delivery, Settings())
        await heard(await opened(streams, stream_id, at(3)), "def")
    assert [entries.times for entries in store.looked] == [1]


async def test_a_feed_is_judged_before_it_is_joined() -> None:
    """A cursor that the feed does not reach, or that is none of its log, is for Redis to answer."""
    store = FailingStore()
    async with followed(store, "abc", "def") as (_, streams, stream_id):
        store.reads = 0
        for cursor in (at(9), at(3, attempt=2), EventId(Position(1, 3), "ffffffff")):
            await opened(streams, stream_id, cursor)
        assert store.reads == 3


async def test_a_foreign_stream_is_unknown_however_well_it_is_followed_here() -> None:
    async with followed(MemoryStore(), "abc") as (_, streams, stream_id):
        with pytest.raises(UnknownStream):
            await streams.open(Caller("somebody else"), stream_id, str(at(3)), SSE)


async def test_a_feed_without_recent_news_is_not_taken_for_the_log() -> None:
    """A stream deleted on another edge answers 410 here a second later at most, also while readers are connected."""
    store = FailingStore()
    async with followed(store, "abc") as (hub, streams, stream_id):
        await store.delete(stream_id, RETENTION)
        hub.feeds[stream_id].checked_at -= 1.1
        with pytest.raises(StreamDeleted):
            await streams.open(CALLER, stream_id, str(at(3)), SSE)


async def test_who_joins_a_feed_that_goes_before_the_body_begins_reads_redis() -> None:
    store = FailingStore()
    async with followed(store, "abc", "def") as (hub, streams, stream_id):
        reader = await opened(streams, stream_id, at(3))
        del hub.feeds[stream_id]
        store.reads = 0
        await heard(reader, "def")
        assert store.reads >= 1
