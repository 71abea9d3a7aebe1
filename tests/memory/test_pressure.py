"""Memory that runs out: what is refused, what goes, and that whoever is in the middle of an answer does not notice."""

import asyncio
import json
from collections.abc import Iterator, Sequence

import pytest

from services.bench.author import Author, opened_author
from services.worker.providers.openai.chunks import ChunkReader
from services.worker.writing.writer import StoreStalled, Writer
from shared.errors import StreamTooLarge
from shared.log.events import MAX_EVENT_BYTES, delta, error, tool_call
from shared.log.keys import Keyspace, new_id
from shared.log.position import START
from shared.store.calls import NewStream
from shared.store.redis.client import open_client
from shared.store.redis.store import RedisStore
from shared.store.replies import Ended, Evicted
from tests.conftest import own_keyspace, remove_keys
from tests.memory.told import Told, tell
from tests.support.calls import call
from tests.support.redis_server import KINDS, RedisServer, ServerKind, running_redis
from tests.support.script import Script
from tests.support.stack import MODEL, Stack, running_stack
from tests.support.streams import RETENTION, begin, end, write
from tests.support.waiting import eventually

__all__ = ()

BUDGET = 60_000
MIB = 2**20


@pytest.fixture
def small(redis_url: str) -> Iterator[Stack]:
    """One edge with a small budget and nobody who pulls."""
    keyspace = own_keyspace()
    with running_stack(
        redis_url=redis_url, prefix=keyspace.prefix, edges=1, workers=0, max_total_bytes=BUDGET
    ) as stack:
        yield stack
    asyncio.run(remove_keys(redis_url, keyspace))


@pytest.fixture
def server() -> Iterator[RedisServer]:
    with running_redis("redis7") as server:
        yield server


@pytest.fixture(params=KINDS)
def any_server(request: pytest.FixtureRequest) -> Iterator[RedisServer]:
    kind: ServerKind = request.param
    with running_redis(kind) as server:
        yield server


async def test_a_create_is_refused_and_an_earlier_one_can_be_repeated(small: Stack) -> None:
    (port,) = small.ports
    body = {"model": MODEL, "messages": [*Script("x").messages(), {"role": "user", "content": "x" * 10_000}]}
    first = await call(port, "POST", "/v1/streams", body=body, idempotency_key="again")
    assert first[0] == 201
    statuses = [(await call(port, "POST", "/v1/streams", body=body))[0] for _ in range(6)]
    assert statuses.count(503) >= 3
    status, refused = await call(port, "POST", "/v1/streams", body=body)
    assert (status, refused["error"]["code"], refused["error"]["retryable"]) == (503, "memory_pressure", True)
    again = await call(port, "POST", "/v1/streams", body=body, idempotency_key="again")
    assert (again[0], again[1]["id"]) == (200, first[1]["id"])
    _, stats = await call(port, "GET", "/v1/stats")
    assert stats["memory"]["bytes"] <= BUDGET == stats["memory"]["limit_bytes"]
    assert stats["memory"]["requests_bytes"] > 10_000
    assert stats["memory"]["average_bytes"] == stats["memory"]["bytes"] // stats["streams"]["live"]
    assert stats["memory"]["oldest_ms"] > 0
    assert stats["edge"]["creates_refused"] >= 4
    assert stats["edge"]["gaps_told"] == 0
    assert small.edges[0].metric("tailrace_creates_refused_total") >= 4


async def test_large_requests_that_come_at_once_do_not_pile_up_in_redis(server: RedisServer) -> None:
    """Neither as what is kept nor as what is on its way: at its peak Redis is never a tenth above the budget."""
    budget = 16 * MIB
    with running_stack(redis_url=server.url, prefix="large", edges=1, workers=0, max_total_bytes=budget) as stack:
        (port,) = stack.ports
        statuses, rise_bytes = await created_at_once(server, [port] * 40)
        assert statuses.count(201) >= 10
        assert statuses.count(201) + statuses.count(503) == 40
        assert rise_bytes < 1.1 * budget


async def test_edges_that_create_at_the_same_time_share_the_budget(server: RedisServer) -> None:
    """Each lets in what the others have left, although none is told of what they let in."""
    budget, edges = 64 * MIB, 3
    with running_stack(redis_url=server.url, prefix="edges", edges=edges, workers=0, max_total_bytes=budget) as stack:
        statuses, rise_bytes = await created_at_once(server, [stack.ports[number % edges] for number in range(100)])
        assert statuses.count(201) >= 45
        assert statuses.count(201) + statuses.count(503) == 100
        assert rise_bytes < 1.1 * budget


async def created_at_once(server: RedisServer, ports: Sequence[int]) -> tuple[list[int], int]:
    """The answers to requests of 1 MiB, one to each port, and how far Redis' memory rose meanwhile."""
    client = open_client(server.url)
    empty = int((await client.info("memory"))["used_memory"])
    body = {"model": MODEL, "messages": [{"role": "user", "content": "x" * MIB}]}
    answers = await asyncio.gather(*(call(port, "POST", "/v1/streams", body=body) for port in ports))
    peak = int((await client.info("memory"))["used_memory_peak"])
    await client.aclose()
    return [status for status, _ in answers], peak - empty


async def test_large_requests_that_are_claimed_at_once_do_not_pile_up_in_redis(any_server: RedisServer) -> None:
    """However many a worker claims, one reply is on its way to it; also when Redis has been held up for a moment."""
    async with opened_author(any_server.url) as author:
        ids = [new_id(buckets=16) for _ in range(40)]
        for stream_id in ids:
            await author.store.create(NewStream(stream_id, "acme", MODEL, b"x" * MIB), RETENTION)
        held = (await author.store.server()).used_bytes
        await author.store.client.client_pause(300)
        await asyncio.gather(*(author.adopt(stream_id) for stream_id in ids))
        assert await peak_bytes(author) - held < 5 * MIB


async def test_large_pages_that_are_read_at_once_do_not_pile_up_in_redis(any_server: RedisServer) -> None:
    """Of many readers that come to many long answers at the same time, one is sent a block."""
    async with opened_author(any_server.url, fold_bytes=10**9) as author:
        writers = [await author.begin() for _ in range(20)]
        for writer in writers:
            for _ in range(39):
                writer.add([delta("text", "y" * 25_000)])
                await writer.room()
            await author.end(writer)
        await author.folded([writer.id for writer in writers])
        held = (await author.store.server()).used_bytes
        await author.store.client.client_pause(300)
        pages = await asyncio.gather(*(author.store.read(writer.id, START, limit=32) for writer in writers))
        sizes = [sum(len(entry.event.value) for entry in page.entries) for page in pages if page]
        assert (len(sizes), min(sizes) > 900_000) == (20, True)
        assert await peak_bytes(author) - held < 5 * MIB


async def test_an_evicted_stream_answers_410(small: Stack, redis_url: str) -> None:
    (port,) = small.ports
    store = RedisStore(open_client(redis_url), Keyspace(small.settings["prefix"]))
    stream_id = await begin(store, tenant="public")
    await end(store, stream_id, tail=await write(store, stream_id, "hi"))
    status, _ = await call(port, "GET", f"/v1/streams/{stream_id}")
    assert status == 200
    replies = await store.evict([stream_id], why="evicted", tombstone_ms=60_000)
    assert isinstance(replies[0], Evicted)
    for path in (f"/v1/streams/{stream_id}", f"/v1/streams/{stream_id}/events"):
        status, body = await call(port, "GET", path)
        assert (status, body["error"]["code"]) == (410, "stream_expired")
        assert body["error"]["gone_ms"]
    await store.aclose()


async def test_reading_a_finished_stream_saves_it(small: Stack, redis_url: str) -> None:
    (port,) = small.ports
    store = RedisStore(open_client(redis_url), Keyspace(small.settings["prefix"]))
    read, unread = [await begin(store, tenant="public") for _ in range(2)]
    for stream_id in (read, unread):
        await end(store, stream_id, tail=await write(store, stream_id, "hi"))

    async def is_saved() -> bool:
        await call(port, "GET", f"/v1/streams/{read}/events")
        return [each.id for each in await store.eviction_candidates(limit=10)] == [unread, read]

    await eventually(is_saved)
    await store.aclose()


async def test_an_edge_takes_no_readers_from_a_redis_that_evicts(server: RedisServer) -> None:
    with running_stack(redis_url=server.url, prefix="policy", edges=1, workers=0) as stack:
        client = open_client(server.url)
        await client.config_set("maxmemory-policy", "allkeys-lru")
        status, body = stack.edges[0].get("/readyz")
        assert (status, body["error"]["code"]) == (503, "store_evicts")
        assert "allkeys-lru" in stack.edges[0].log
        await client.config_set("maxmemory-policy", "noeviction")
        assert stack.edges[0].status("/readyz") == 200
        await client.aclose()


async def test_a_writer_under_oom_folds_and_goes_on(any_server: RedisServer) -> None:
    """`maxmemory` is hit in the middle of an answer, while finished ones lie around: they go, the answer goes on."""
    async with opened_author(any_server.url, budget_s=30, fold_bytes=10**9) as author:
        old = [await author.begin() for _ in range(20)]
        for writer in old:
            await author.say(writer, "o" * 20_000)
            await author.end(writer)
        live = await author.begin()
        said = [f"{number} " for number in range(1_500)]
        await author.say(live, said[0])
        async with asyncio.TaskGroup() as group:
            keeper = group.create_task(author.budget.run())
            used = (await author.store.server()).used_bytes
            await author.store.client.config_set("maxmemory", used + 30_000)
            for text in said[1:]:
                await author.say(live, text)
            keeper.cancel()
        await author.store.client.config_set("maxmemory", 0)
        await author.end(live)
        assert (await tell(author.store, live.id)).pieces[0] == ("text", 0, "".join(said))
        assert (await author.store.usage()).evicted > 0


async def test_a_writer_that_finds_no_room_for_too_long_is_told(any_server: RedisServer) -> None:
    """Nothing can be folded, nobody can go: what was acknowledged stays, and the end can be written."""
    async with opened_author(any_server.url, store_stall_s=0.3) as author:
        live = await author.begin()
        await author.say(live, "acknowledged")
        await author.store.client.config_set("maxmemory", 1)
        with pytest.raises(StoreStalled):
            await author.say(live, "lost")
        failure = error("store_full", "The stream store has no room.", retryable=True)
        await author.store.release(live.id, live.nonce)
        ended = await author.store.finish(live.id, failure, nonce="0badf00d", retention=author.settings.retention)
        assert isinstance(ended, Ended)
        told = await tell(author.store, live.id)
        assert [piece[:2] for piece in told.pieces] == [("text", 0), ("error", 0)]
        assert told.pieces[0][2] == "acknowledged"


async def test_a_single_delta_of_ten_mebibytes(any_server: RedisServer) -> None:
    """As the provider's bytes bring it: one chunk, which becomes events of a size that everybody can hold."""
    text = "0123456789abcdé\n" * (10 * MIB // 17)
    body = b"data: " + json.dumps({"choices": [{"index": 0, "delta": {"content": text}}]}).encode() + b"\n\n"
    async with opened_author(any_server.url) as author:
        writer, chunks = await author.begin(), ChunkReader()
        for start in range(0, len(body), 65_536):
            said = chunks.feed(body[start : start + 65_536])
            assert all(event.size <= MAX_EVENT_BYTES for event in said)
            writer.add(said)
            await writer.room()
        await author.end(writer)
        await author.folded([writer.id])
        told = await tell(author.store, writer.id)
        check_answer(told, text)
        assert told.events <= 15
        assert (await author.store.footprint(writer.id)) < 13 * MIB
        assert await peak_bytes(author) < 48 * MIB


async def test_two_hundred_thousand_deltas_of_one_byte(any_server: RedisServer) -> None:
    async with opened_author(any_server.url) as author:
        writer = await author.begin()
        text = "".join(chr(97 + number % 26) for number in range(200_000))
        for character in text:
            writer.add([delta("text", character)])
            await writer.room()
        await author.end(writer)
        await author.folded([writer.id])
        told = await tell(author.store, writer.id)
        check_answer(told, text)
        assert (await author.store.footprint(writer.id)) < 1.5 * len(text)
        assert await peak_bytes(author) < 8 * MIB


async def test_an_answer_of_sixty_mebibytes_in_a_stream_of_fifty(any_server: RedisServer) -> None:
    """At its peak too, in the middle of a fold, Redis holds less than the limit; the reader is told what it misses."""
    limit, piece = 50 * MIB, 32_768
    async with opened_author(any_server.url, max_stream_bytes=limit, block_bytes=1_000_000) as author:
        empty = (await author.store.server()).used_bytes
        writer = await author.begin()
        for number in range(60 * MIB // piece):
            writer.add([delta("text", f"{number:08d}" * (piece // 8))])
            await writer.room()
        await author.end(writer)
        assert await peak_bytes(author) - empty < limit
        told = await tell(author.store, writer.id)
    ((begin, end),) = told.gaps
    assert begin == 0
    assert 10 * MIB < end < 25 * MIB
    (text, _usage, ending) = told.pieces
    whole = "".join(f"{number:08d}" * (piece // 8) for number in range(60 * MIB // piece))
    assert (text[2] == whole[end:], ending[0]) == (True, "done")


@pytest.mark.slow
async def test_five_thousand_streams_that_finish_at_once(server: RedisServer) -> None:
    """All are folded within seconds, memory falls, and a stream that is live meanwhile hardly notices."""
    async with opened_author(server.url) as author:
        writers: list[Writer] = []
        for _ in range(5_000 // 50):
            writers += await asyncio.gather(*(author.begin() for _ in range(50)))
        for writer in writers:
            writer.add([delta("text", f"{writer.id} " * 30)])
        await asyncio.gather(*(writer.flushed() for writer in writers))
        held = (await author.store.server()).used_bytes
        live, said = await author.begin(), 0
        async with asyncio.TaskGroup() as group:
            endings = [group.create_task(author.end(writer)) for writer in writers]
            keeper = group.create_task(author.budget.run())
            while not all(ending.done() for ending in endings) or await author.store.maintenance_due(
                quiet_ms=0, limit=1
            ):
                await author.say(live, "word ")
                said += 1
            keeper.cancel()
        assert said > 20  # it got its turns among ten thousand others
        assert (await author.store.server()).used_bytes < 0.7 * held
        assert (await author.store.statistics())["finished"] == 5_000
        for writer in writers[::250]:
            told = await tell(author.store, writer.id)
            check_answer(told, f"{writer.id} " * 30)
            assert told.events == 3


def check_answer(told: Told, text: str) -> None:
    """The whole text, then what it cost, then its end."""
    assert told.pieces[0] == ("text", 0, text)
    assert [kind for kind, _, _ in told.pieces[1:]] == ["usage", "done"]
    assert told.pieces[2][2].startswith('{"finish_reason":"stop",')


async def peak_bytes(author: Author) -> int:
    """The most that Redis ever used, as it saw itself, in the middle of functions too."""
    return int((await author.store.client.info("memory"))["used_memory_peak"])


async def test_a_stream_over_its_limit_stays_within_it_and_tells(server: RedisServer) -> None:
    limit = 2 * MIB
    async with opened_author(server.url, max_stream_bytes=limit, block_bytes=100_000) as author:
        writer = await author.begin()
        for number in range(600):
            writer.add([delta("text", f"{number:08d}" * 512)])
            await writer.room()
            if number % 50 == 0:
                await writer.flushed()
                meta = await author.store.meta(writer.id)
                assert meta is not None
                assert meta.bytes < limit * 1.2
        await author.end(writer)
        told = await tell(author.store, writer.id)
        meta = await author.store.meta(writer.id)
        assert meta is not None
        assert told.gaps == [(0, meta.trimmed)]
        whole = "".join(f"{number:08d}" * 512 for number in range(600))
        assert told.pieces[0] == ("text", 0, whole[meta.trimmed :])


async def test_what_can_be_neither_folded_nor_trimmed_ends_the_answer(server: RedisServer) -> None:
    """An unfinished tool call of any size: a continuation could not take it up half-way, so it is not folded."""
    async with opened_author(server.url, max_stream_bytes=MIB) as author:
        writer = await author.begin()
        writer.add([tool_call(0, "", call_id="c", name="f")])

        async def pour() -> None:
            for _ in range(200):
                writer.add([tool_call(0, "x" * 20_000)])
                await writer.flushed()

        with pytest.raises(StreamTooLarge):
            await pour()
