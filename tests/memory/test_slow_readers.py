"""Readers that take their time over folded blocks: exact whatever happens to the log meanwhile, and cheap to keep."""

import socket
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from services.bench.author import opened_author
from services.edge.carriers.carrier import Disconnected
from services.edge.delivery.delivery import Delivery
from services.edge.delivery.large_frames import FrameName, LargeFrames
from shared.log import events
from shared.log.position import EventId, Position
from shared.store.calls import Compact
from shared.store.memory.store import MemoryStore
from shared.store.replies import Compacted
from tests.edge.test_failures import assert_quiet, edges_of, send_queues
from tests.edge.test_reader import FailingStore, Page, reader_of, running_delivery, snapshot_of
from tests.support.edge import EdgeProcess
from tests.support.redis_server import RedisServer, running_redis
from tests.support.sse_client import NDJSON
from tests.support.sse_client import SSE as SSE_TYPE
from tests.support.streams import append, begin, nonce, write
from tests.support.waiting import eventually

__all__ = ()

# Each character is three bytes, so that pieces of a frame end inside some.
TEXT = "漢字かな" * 50_000
PIECE = 64 * 1024
# What an edge and the kernel hold for a reader that takes nothing.
MOST_HELD = 256 * 1024
STREAMS, READERS = 20, 100


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis("redis7") as server:
        yield server


class Slow(Page):
    """A page that does something after each piece that it takes."""

    def __init__(self, between: Callable[[int], Awaitable[None]]) -> None:
        super().__init__()
        self.pieces = 0
        self._between = between

    async def send(self, payload: bytes) -> None:
        await super().send(payload)
        self.pieces += 1
        await self._between(self.pieces)


def keep_frames(delivery: Delivery, *, buffer_bytes: int) -> None:
    delivery.context = replace(delivery.context, large_frames=LargeFrames(buffer_bytes=buffer_bytes))


async def said(store: MemoryStore, *texts: str) -> tuple[str, int]:
    """A live stream in which each text is one block, and its tail."""
    stream_id, tail = await begin(store), 0
    for text in texts:
        for start in range(0, len(text), 10_000):
            tail = await write(store, stream_id, text[start : start + 10_000], tail=tail)
    return stream_id, tail


async def fold(store: MemoryStore, stream_id: str, **options: int) -> None:
    (reply,) = await store.compact([Compact(stream_id, nonce(1), **options)])
    assert isinstance(reply, Compacted)


@pytest.mark.parametrize("buffer_bytes", [2**28, 0], ids=["frames are kept", "no frame is kept"])
async def test_a_block_goes_out_in_pieces_that_nobody_has_to_keep(buffer_bytes: int) -> None:
    store = FailingStore()
    stream_id, tail = await said(store, TEXT)
    await append(store, stream_id, [*events.pieces(events.delta("text", "end")), events.done("stop")], tail=tail)
    await fold_finished(store, stream_id)

    async def look(piece: int) -> None:
        assert delivery.context.large_frames.kept_bytes <= buffer_bytes // 8

    page = Slow(look)
    async with running_delivery(store) as delivery:
        keep_frames(delivery, buffer_bytes=buffer_bytes)
        reads = store.reads
        await reader_of(delivery, await snapshot_of(store, stream_id)).run(page)
        assert (store.reads - reads > page.pieces - 3) == (buffer_bytes == 0)
    assert (page.history.text(), page.is_complete) == (TEXT + "end", True)
    assert len(page.raw) / page.pieces < PIECE
    assert page.pieces > 10


async def fold_finished(store: MemoryStore, stream_id: str) -> None:
    while True:
        (reply,) = await store.compact([Compact(stream_id)])
        assert isinstance(reply, Compacted)
        if not reply.more:
            return


@pytest.mark.parametrize("kind", ["text", "tool_call"])
async def test_an_event_that_was_begun_is_ended_although_more_was_folded_into_it(kind: str) -> None:
    store = FailingStore()
    stream_id, tail = await begin(store), 0
    opening = [events.tool_call(0, "", call_id="c/1", name="f")] if kind == "tool_call" else []
    piece = 'é"\n/' * 2_000

    def of(text: str) -> events.Event:
        return events.tool_call(0, text) if kind == "tool_call" else events.delta("text", text)

    async def say(more: list[events.Event]) -> None:
        nonlocal tail
        await append(store, stream_id, more, tail=tail)
        tail += sum(event.size for event in more)

    await say([*opening, *(of(piece) for _ in range(20))])
    await fold(store, stream_id)

    async def grow(number: int) -> None:
        if number == 2:
            await say([of(piece) for _ in range(10)])
            await fold(store, stream_id)
        if number == 3:
            await say([events.done("stop")])

    page = Slow(grow)
    async with running_delivery(store) as delivery:
        keep_frames(delivery, buffer_bytes=0)
        await reader_of(delivery, await snapshot_of(store, stream_id)).run(page)
    assert page.is_complete
    texts = [item.data or {} for item in page.items if (item.data or {}).get("type") == kind]
    heard = "".join(data["arguments_delta" if kind == "tool_call" else "delta"] for data in texts)
    assert heard == piece * 30
    ids = [item.id for item in page.items if item.id]
    assert len(set(ids)) == len(ids)


async def test_an_event_that_was_begun_and_is_trimmed_is_cut_not_garbled() -> None:
    store = FailingStore()
    stream_id, _ = await said(store, TEXT)
    await fold(store, stream_id)

    async def lose(number: int) -> None:
        if number == 2:
            await write(store, stream_id, "more", tail=len(TEXT.encode()))
            await fold(store, stream_id, max_bytes=1_000)

    page = Slow(lose)
    async with running_delivery(store) as delivery:
        keep_frames(delivery, buffer_bytes=0)
        with pytest.raises(Disconnected):
            await reader_of(delivery, await snapshot_of(store, stream_id)).run(page)
        assert page.pieces == 2
        assert not any(item.data for item in page.items), "no event was completed: the reader comes back where it was"
    meta = await store.meta(stream_id)
    assert meta is not None
    await append(store, stream_id, [events.done("stop")], tail=meta.tail)
    again = Page()
    async with running_delivery(store) as delivery:
        await reader_of(delivery, await snapshot_of(store, stream_id)).run(again)
    assert [item.data["type"] for item in again.items if item.data] == ["gap", "text", "done"]


async def test_a_long_message_starts_over_with_its_beginning() -> None:
    """`reset` holds a bounded part of it; the rest comes as events, the gap in it too."""
    store = MemoryStore()
    stream_id, tail = await said(store, TEXT)
    await append(store, stream_id, [events.done("stop")], tail=tail)
    page = Page()
    async with running_delivery(store) as delivery:
        unknown = EventId(Position(7, 5), "deadbeef")
        await reader_of(delivery, await snapshot_of(store, stream_id), unknown).run(page)
    assert page.history.resets == ["log_lost"]
    assert page.history.text() == TEXT
    reset = next(item.data for item in page.items if item.data)
    assert 30_000 < len(reset["parts"][0]["text"].encode()) <= 64 * 1024
    assert page.is_complete


def test_large_frames_are_bounded_and_the_oldest_goes_first() -> None:
    frames = LargeFrames(buffer_bytes=8 * 100)
    names = [FrameName("s", number, "1-9.x", "sse") for number in range(4)]
    for name in names[:3]:
        frames.keep(name, b"x" * 30)
    assert frames.find(names[0])
    frames.keep(names[3], b"x" * 40)
    assert [frames.find(name) is not None for name in names] == [True, False, True, True]
    assert frames.kept_bytes == 100
    frames.keep(names[3], b"y")
    assert (frames.find(names[3]), frames.kept_bytes) == (b"y", 61)


@pytest.mark.slow
@pytest.mark.timeout(60)
@pytest.mark.parametrize("cursor", ["", "7-5.deadbeef"], ids=["from the start", "reset"])
async def test_a_reader_that_does_not_read_holds_little_of_a_block(
    server: RedisServer, tmp_path: Path, cursor: str
) -> None:
    """Blocks of a megabyte, in twenty streams, so that hardly any two readers share one."""
    async with opened_author(server.url, block_bytes=1_000_000, max_total_bytes=10**9) as author:
        ids = []
        for _ in range(STREAMS):
            writer = await author.begin()
            for _ in range(64):
                writer.add([events.delta("text", "word " * 4_800)])
                await writer.room()
            await author.end(writer)
            ids.append(writer.id)
        await author.folded(ids)
        with edges_of(tmp_path, 1, redis_url=server.url, send_timeout_s=30) as (edge,), ExitStack() as stack:
            readers: list[socket.socket] = []

            async def arrive(number: int, wire: str) -> None:
                come = [deaf(edge, ids[reader % STREAMS], wire, cursor) for reader in range(number)]
                readers.extend(map(stack.enter_context, come))
                await eventually(lambda: are_held_up(edge, len(readers)), within_s=20)

            # After these, what the edge keeps for all is there: frames, and buffers of its connections to Redis.
            for wire in (SSE_TYPE, NDJSON):
                await arrive(READERS, wire)
            before = edge.rss_bytes
            for wire in (SSE_TYPE, NDJSON):
                await arrive(READERS, wire)
            held = (edge.rss_bytes - before) / (2 * READERS) + max(send_queues(edge.port).values())
            assert held < MOST_HELD, held
            assert_quiet(edge)


def deaf(edge: EdgeProcess, stream_id: str, wire: str, cursor: str) -> socket.socket:
    """A connection on which a request was sent, and whose answer nobody takes."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", edge.port))
    resume = f"last-event-id: {cursor}\r\n" if cursor else ""
    head = f"GET /v1/streams/{stream_id}/events HTTP/1.1\r\nhost: localhost\r\naccept: {wire}\r\n{resume}\r\n"
    connection.sendall(head.encode())
    return connection


async def are_held_up(edge: EdgeProcess, number: int) -> bool:
    queues = send_queues(edge.port).values()
    return sum(queued > 8 * 1024 for queued in queues) >= number
