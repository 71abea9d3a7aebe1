"""meta, read, present, due, listing, statistics, secret, ping."""

import pytest

from shared.errors import InvalidCursor
from shared.log.events import LogEntry
from shared.log.keys import new_id
from shared.log.position import START, Position
from shared.store.calls import LeaseRenewal
from shared.store.store import Store
from tests.support.streams import ALL, OVER_MS, RETENTION, TENANT, begin, claim, create, end, log, nonce, write

__all__ = ()

NOBODY = "f" * 32


async def test_what_never_was_cannot_be_read(any_store: Store) -> None:
    assert await any_store.meta(NOBODY) is None
    assert await any_store.read(NOBODY, START, limit=10) is None


async def test_a_queued_stream_reads_as_empty(any_store: Store) -> None:
    snapshot = await any_store.read(await create(any_store), START, limit=10)
    assert snapshot is not None
    assert list(snapshot.entries) == []
    assert snapshot.meta.lineage.position == START


async def test_a_snapshot_is_meta_and_log(any_store: Store) -> None:
    stream_id = await begin(any_store)
    tail = await write(any_store, stream_id, "one", "two")
    snapshot = await any_store.read(stream_id, START, limit=ALL)
    assert snapshot is not None
    assert snapshot.meta == await any_store.meta(stream_id)
    assert snapshot.entries[-1].position == snapshot.meta.lineage.position == Position(1, tail)


@pytest.mark.parametrize("limit", [1, 2, 3, 100])
async def test_a_log_is_read_in_pages(any_store: Store, limit: int) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    await write(any_store, stream_id, *"abcde", safe=3)
    await claim(any_store, stream_id, 2, mode="continue")
    await write(any_store, stream_id, *"DE", number=2, tail=3)
    found: list[LogEntry] = []
    after = START
    while True:
        snapshot = await any_store.read(stream_id, after, limit=limit)
        assert snapshot is not None
        assert len(snapshot.entries) <= limit
        if not snapshot.entries:
            break
        found += snapshot.entries
        after = found[-1].position
    assert found == await log(any_store, stream_id)


async def test_a_read_after_the_tail_finds_nothing(any_store: Store) -> None:
    stream_id = await begin(any_store)
    await write(any_store, stream_id, "text")
    for position in (Position(1, 4), Position(1, 400), Position(7, 0)):
        snapshot = await any_store.read(stream_id, position, limit=10)
        assert snapshot is not None
        assert list(snapshot.entries) == []


async def test_present_leaves_out_what_has_vanished(any_store: Store) -> None:
    queued, live, deleted = await create(any_store), await begin(any_store), await begin(any_store)
    assert await any_store.present([queued, live, deleted]) == [queued, live, deleted]
    assert await any_store.present([live, deleted]) == [live, deleted]
    await any_store.delete(deleted, RETENTION)
    assert await any_store.present([queued, live, deleted, NOBODY]) == [queued, live]
    assert await any_store.present([]) == []


async def test_due_is_what_nobody_looks_after(any_store: Store) -> None:
    lost = await create(any_store, dispatch_ms=OVER_MS - 2)
    crashed = await begin(any_store, lease_ms=OVER_MS + 500)
    await create(any_store)
    await begin(any_store)
    await end(any_store, await begin(any_store, lease_ms=OVER_MS))
    assert await any_store.due(limit=10) == [lost, crashed]
    assert await any_store.due(limit=1) == [lost]


async def test_due_forgets_what_is_gone(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    await any_store.delete(stream_id, RETENTION)
    assert await any_store.due(limit=10) == []


async def test_a_forgotten_stream_is_neither_due_nor_listed(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    await any_store.forget(stream_id)
    assert await any_store.due(limit=10) == []
    assert (await any_store.listing(TENANT, status=None, limit=10, cursor=None)).streams == []
    await any_store.forget(NOBODY)


async def listed(store: Store, tenant: str, status: str | None, *, limit: int) -> list[str]:
    found: list[str] = []
    cursor = None
    while True:
        page = await store.listing(tenant, status=status, limit=limit, cursor=cursor)
        assert len(page.streams) <= limit
        found += [meta.id for meta in page.streams]
        if page.next is None:
            return found
        cursor = page.next


@pytest.mark.parametrize("limit", [1, 3, 50])
async def test_a_listing_shows_a_tenants_streams_newest_first(any_store: Store, limit: int) -> None:
    mine = [await create(any_store) for _ in range(5)]
    theirs = [await create(any_store, tenant="other") for _ in range(3)]
    created = {meta.id: meta.created_ms for stream_id in mine if (meta := await any_store.meta(stream_id))}
    newest_first = sorted(mine, key=lambda stream_id: (created[stream_id], stream_id), reverse=True)
    assert await listed(any_store, TENANT, None, limit=limit) == newest_first
    assert sorted(await listed(any_store, "other", None, limit=limit)) == sorted(theirs)
    assert await listed(any_store, "nobody", None, limit=limit) == []


async def test_many_streams_of_one_millisecond_are_all_listed(any_store: Store) -> None:
    """Of one bucket too: a page must not end where a score repeats."""
    mine = {await create(any_store, stream_id=f"00{new_id(buckets=1)[2:]}") for _ in range(40)}
    found = await listed(any_store, TENANT, None, limit=2)
    assert len(found) == 40
    assert set(found) == mine


@pytest.mark.parametrize(
    ("status", "names"),
    [
        (None, {"queued", "running", "done"}),
        ("queued", {"queued"}),
        ("running", {"running"}),
        ("done", {"done"}),
        ("error", set()),
        ("live", {"queued", "running"}),
        ("finished", {"done"}),
    ],
)
async def test_a_listing_can_be_filtered(any_store: Store, status: str | None, names: set[str]) -> None:
    streams = {
        await create(any_store): "queued",
        await begin(any_store): "running",
        (done := await begin(any_store)): "done",
    }
    await end(any_store, done)
    assert {streams[stream_id] for stream_id in await listed(any_store, TENANT, status, limit=2)} == names


@pytest.mark.parametrize("limit", [1, 2, 5])
async def test_pages_of_a_listing_are_stable_whatever_happens_to_the_streams(any_store: Store, limit: int) -> None:
    """A heartbeat, an ending or a read between two pages moves nobody; a new stream comes before the first page."""
    mine = [await begin(any_store) for _ in range(12)]
    before = await listed(any_store, TENANT, None, limit=50)
    found: list[str] = []
    cursor = None
    while True:
        page = await any_store.listing(TENANT, status=None, limit=limit, cursor=cursor)
        found += [meta.id for meta in page.streams]
        for stream_id in mine:
            await any_store.heartbeat([LeaseRenewal(stream_id, nonce(1), 60_000)], RETENTION)
        await any_store.release(mine[len(found) % 12], nonce(1))
        await any_store.cancel(mine[len(found) % 12], attempt=None, nonce=nonce(2), retention=RETENTION)
        await any_store.touch(mine[(len(found) + 6) % 12])
        await create(any_store)
        if page.next is None:
            break
        cursor = page.next
    assert found == before
    assert sorted(found) == sorted(mine)


@pytest.mark.parametrize("cursor", ["x", "1-2", "-", "1-" + "g" * 32, "٣-" + "a" * 32])
async def test_a_foreign_listing_cursor_is_refused(any_store: Store, cursor: str) -> None:
    with pytest.raises(InvalidCursor):
        await any_store.listing(TENANT, status=None, limit=2, cursor=cursor)


async def test_statistics_count_streams(any_store: Store) -> None:
    assert dict(await any_store.statistics()) == {"live": 0, "finished": 0, "created": 0}
    await create(any_store)
    await begin(any_store)
    await end(any_store, await begin(any_store))
    deleted = await create(any_store)
    assert dict(await any_store.statistics()) == {"live": 3, "finished": 1, "created": 4}
    await any_store.delete(deleted, RETENTION)
    assert dict(await any_store.statistics()) == {"live": 2, "finished": 1, "created": 4}


async def test_the_secret_is_made_once(any_store: Store) -> None:
    first, second = await any_store.secret(), await any_store.secret()
    assert first == second
    assert len(first) == 32


async def test_ping(any_store: Store) -> None:
    await any_store.ping()


async def test_fences_are_listed_oldest_first(any_store: Store) -> None:
    """Redis turns a hash with long values into a table without order."""
    stream_id = await begin(any_store, lease_ms=OVER_MS, metadata=b'{"long":"%b"}' % (b"x" * 500))
    for number in range(2, 12):
        await claim(any_store, stream_id, number, lease_ms=OVER_MS, max_attempts=99)
    meta = await any_store.meta(stream_id)
    assert meta is not None
    assert [fence.attempt for fence in meta.fences] == list(range(1, 12))
    assert meta.nonce == nonce(11)
