"""An event of a kind that only a newer version knows is one unit, on every path (P-2.7)."""

import pytest

from shared.log.events import LogEntry
from shared.log.position import START, Position
from shared.log.slicing import after
from shared.store.calls import Compact
from shared.store.message import assemble, read_content, read_kept
from shared.store.redis.store import RedisStore
from shared.store.replies import Claimed, Compacted
from shared.store.resume import Deliver, step
from shared.store.store import Store
from tests.support.newer import write_newer
from tests.support.streams import ALL, begin, claim, end, log, nonce, write

__all__ = ()

CITATION = b'{"url":"https://example.org","title":"A page"}'
KINDS = ["text", "citation", "text", "citation", "text"]


async def cited(store: Store) -> tuple[str, int]:
    """A live stream with two citations among its texts, and its tail."""
    stream_id = await begin(store)
    tail = await write(store, stream_id, "one ")
    tail = await write_newer(store, stream_id, "citation", CITATION, tail=tail)
    tail = await write(store, stream_id, "two ", tail=tail)
    tail = await write_newer(store, stream_id, "citation", CITATION, tail=tail)
    return stream_id, await write(store, stream_id, "three", tail=tail)


def told(entries: list[LogEntry]) -> list[tuple[str, int]]:
    return [(entry.event.kind, entry.event.size) for entry in entries if entry.event.kind != "fence"]


async def test_it_is_read_and_counted(any_store: Store) -> None:
    stream_id, _ = await cited(any_store)
    assert told(await log(any_store, stream_id)) == list(zip(KINDS, (4, 1, 4, 1, 5), strict=True))


async def test_it_is_tailed(any_store: Store) -> None:
    stream_id, _ = await cited(any_store)
    tailer = any_store.tailer()
    news = await tailer.read({stream_id: Position(1, 4)}, count=100, block_ms=None)
    await tailer.aclose()
    assert told(list(news[stream_id])) == [("citation", 1), ("text", 4), ("citation", 1), ("text", 5)]


@pytest.mark.parametrize("is_over", [False, True], ids=["live", "over"])
async def test_it_is_folded_and_read_from_blocks(any_store: Store, is_over: bool) -> None:
    stream_id, tail = await cited(any_store)
    if is_over:
        await end(any_store, stream_id, tail=tail)
    (reply,) = await any_store.compact([Compact(stream_id, "" if is_over else nonce(1))])
    assert isinstance(reply, Compacted), reply
    assert reply.folded > 0
    entries = told(await log(any_store, stream_id))
    assert [kind for kind, _ in entries if kind != "done"] == KINDS


async def test_every_offset_beside_it_is_a_cursor(any_store: Store) -> None:
    stream_id, tail = await cited(any_store)
    whole = b"one \0two \0three"
    for offset in range(tail):
        snapshot = await any_store.read(stream_id, START, limit=ALL)
        assert snapshot is not None
        found = step(snapshot.meta.lineage.event_id(offset), snapshot)
        assert isinstance(found, Deliver), offset
        rest = [b"\0" if entry.event.kind == "citation" else entry.event.value for entry in found.entries]
        assert b"".join(rest) == whole[offset:]


async def test_a_message_is_what_is_known_of_it(any_store: Store) -> None:
    """For the state, for a reset, and for whoever takes over and continues."""
    stream_id, tail = await cited(any_store)
    whole = await assemble(any_store, stream_id)
    assert whole is not None
    assert whole.content.parts() == [{"type": "text", "text": "one two three"}]
    assert (await read_content(any_store, stream_id)).parts() == whole.content.parts()
    taken = await claim(any_store, stream_id, 2, mode="continue", holder=nonce(1))
    assert isinstance(taken, Claimed)
    assert taken.keep == tail
    assert (await read_kept(any_store, stream_id, tail)).content.parts() == whole.content.parts()
    await end(any_store, stream_id, number=2, tail=await write(any_store, stream_id, " four", number=2, tail=tail))
    assert (await read_content(any_store, stream_id)).parts() == [{"type": "text", "text": "one two three four"}]


async def test_it_is_told_in_one_line_whatever_it_holds(any_store: Store) -> None:
    """Also if it is not what section 2 wants it to be: readers need its unit."""
    stream_id = await begin(any_store)
    tail = 0
    for value in (CITATION, b"{}", b"no JSON", b"[1]", '{"type":"text","x":"\u2028"}'.encode(), b'{"a":\n1}', b"\xff"):
        tail = await write_newer(any_store, stream_id, "citation", value, tail=tail)
    lines = [entry.event.data() for entry in await log(any_store, stream_id) if entry.event.kind != "fence"]
    assert lines == [
        b'{"type":"citation","url":"https://example.org","title":"A page"}',
        b'{"type":"citation"}',
        b'{"type":"citation"}',
        b'{"type":"citation"}',
        b'{"type":"citation","x":"\\u2028"}',
        b'{"type":"citation","a":1}',
        b'{"type":"citation"}',
    ]


async def test_a_kind_may_have_any_name(store: RedisStore) -> None:
    stream_id = await begin(store)
    await write_newer(store, stream_id, 'a "kind"\n', b"{}", tail=0)
    (entry,) = [entry for entry in await log(store, stream_id) if entry.event.kind != "fence"]
    assert entry.event.data() == b'{"type":"a \\"kind\\"\\n"}'
    assert after(entry, 1) is None
