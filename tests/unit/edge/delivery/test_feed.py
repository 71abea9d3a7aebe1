"""The shared end of a stream: who is written to, who has to look for itself, and what is refused."""

from dataclasses import dataclass, field

import pytest

from services.edge.carriers.carrier import Wrap
from services.edge.carriers.uvicorn_protocol import DirectSocket
from services.edge.delivery.batch import Batch
from services.edge.delivery.feed import Diverged, Feed
from services.edge.delivery.live import Channel
from services.edge.wires.ndjson import NDJSON
from services.edge.wires.sse import SSE
from services.edge.wires.wire import Wire, WireState
from shared.log.events import Event, LogEntry, delta, done, fence
from shared.log.page import DeltaPage
from shared.log.position import START, EventId, Position
from shared.store.memory.store import MemoryStore
from shared.store.state import Meta
from tests.support.sse_client import NdjsonParser, SseParser
from tests.support.streams import begin, claim, create, nonce, write

__all__ = ()


@dataclass(eq=False)
class Listener:
    """A follower that keeps what it is given."""

    cursor: EventId
    wire: Wire = SSE
    raw: bytes = b""
    woken: int = 0
    is_connected: bool = True
    stalls: Feed | None = None
    fails: bool = False
    writes: list[int] = field(default_factory=list)

    wire_state: WireState = None
    wrap: Wrap = bytes

    @property
    def channel(self) -> Channel:
        return Channel(self.wire, self.wrap)

    def write(self, wrapped: bytes) -> DirectSocket | None:
        if self.fails:
            raise RuntimeError("the transport is closed")
        self.raw += wrapped
        self.writes.append(len(wrapped))
        if self.stalls:
            self.stalls.leave(self)
        return None

    def wake(self) -> None:
        self.woken += 1

    def disconnect(self) -> None:
        self.is_connected = False

    @property
    def text(self) -> str:
        parser = SseParser() if self.wire is SSE else NdjsonParser()
        return "".join((item.data or {}).get("delta", "") for item in parser.feed(self.raw))


async def meta_of(*written: str) -> Meta:
    """Meta of a stream whose first attempt has written this."""
    store = MemoryStore()
    stream_id = await begin(store)
    if written:
        await write(store, stream_id, *written)
    meta = await store.meta(stream_id)
    assert meta is not None
    return meta


def feed_at(meta: Meta, *, max_bytes: int = 10**6) -> Feed:
    return Feed(meta, max_bytes=max_bytes, delivered=lambda _wire, _events: None)


async def fresh_feed(*, max_bytes: int = 10**6) -> Feed:
    return feed_at(await meta_of(), max_bytes=max_bytes)


def entries(*events: Event, start: int = 0, attempt: int = 1) -> list[LogEntry]:
    found = []
    for event in events:
        start += event.size
        found.append(LogEntry(Position(attempt, start), event))
    return found


def texts(*deltas: str, start: int = 0, attempt: int = 1) -> list[LogEntry]:
    return entries(*(delta("text", text) for text in deltas), start=start, attempt=attempt)


def page(*deltas: str, start: int = 0, attempt: int = 1) -> DeltaPage:
    """The same as Redis gives it."""
    found = DeltaPage.of(
        [
            (str(entry.position).encode(), [b"text", entry.event.value])
            for entry in texts(*deltas, start=start, attempt=attempt)
        ]
    )
    assert found is not None
    return found


def fenced(attempt: int, keep: int) -> LogEntry:
    event = fence(nonce=nonce(attempt), keep=keep, reason="takeover", worker="w")
    return LogEntry(Position(attempt, keep), event)


def at(offset: int, attempt: int = 1) -> EventId:
    return EventId(Position(attempt, offset), nonce(attempt))


def live(feed: Feed, wire: Wire = SSE, *, wrap: Wrap = bytes) -> Listener:
    listener = Listener(feed.cursor, wire, wrap=wrap)
    feed.readers.add(listener)
    feed.join(listener)
    return listener


def waiting(feed: Feed, cursor: EventId) -> Listener:
    listener = Listener(cursor)
    feed.readers.add(listener)
    return listener


async def test_live_readers_of_both_wires_are_written_what_comes() -> None:
    told: list[tuple[str, int]] = []
    feed = Feed(await meta_of(), max_bytes=10**6, delivered=lambda wire, events: told.append((wire.name, events)))
    readers = [live(feed), live(feed), live(feed, NDJSON)]
    feed.extend(texts("a", "b"))
    feed.extend(texts("c", start=2))
    assert [reader.text for reader in readers] == ["abc"] * 3
    assert [reader.woken for reader in readers] == [0, 0, 0]
    assert told == [("sse", 4), ("ndjson", 2), ("sse", 2), ("ndjson", 1)]


async def test_each_kind_of_carrier_wraps_once_what_is_framed_once() -> None:
    """Two kinds for one wire, and another wire between them."""
    feed, wrapped = await fresh_feed(), list[bytes]()

    def parcelled(payload: bytes) -> bytes:
        wrapped.append(payload)
        return b"<%b>" % payload

    wire = CountedSse()
    plain, other = live(feed, wire), live(feed, NDJSON)
    pair = [live(feed, wire, wrap=parcelled), live(feed, wire, wrap=parcelled)]
    feed.extend(page("ab"))
    feed.extend(page("c", start=2))
    assert wire.pages == len(wrapped) == 2
    assert plain.raw == b"".join(wrapped)
    assert [each.raw for each in pair] == [b"".join(b"<%b>" % payload for payload in wrapped)] * 2
    assert other.text == "abc"


class CountedSse(type(SSE)):  # type: ignore[misc]
    """The wire that the product has, which counts the pages that it is asked for."""

    pages = 0

    def deltas(self, page: DeltaPage, nonce: bytes, state: WireState) -> bytes:
        self.pages += 1
        framed: bytes = super().deltas(page, nonce, state)
        return framed


async def test_whoever_is_not_live_is_woken_and_takes_what_it_lacks() -> None:
    feed = await fresh_feed()
    reader = waiting(feed, at(0))
    feed.extend(texts("abc", "def"))
    assert reader.woken == 1
    batch = feed.after(4)
    assert batch is not None
    assert [entry.event.value for entry in batch.entries] == [b"ef"]
    assert feed.after(6) is None


async def test_batches_are_found_from_every_offset() -> None:
    feed = await fresh_feed()
    for offset in range(50):
        feed.extend(texts("x", start=offset))
    for offset in range(50):
        batch = feed.after(offset)
        assert batch is not None
        assert (batch.start, batch.end) == (offset, offset + 1)


async def test_who_leaves_is_at_what_it_was_written() -> None:
    feed = await fresh_feed()
    reader = live(feed)
    feed.extend(texts("ab"))
    feed.leave(reader)
    feed.extend(texts("c", start=2))
    assert (reader.text, reader.cursor) == ("ab", at(2))


async def test_who_stalls_in_the_middle_of_a_write_has_got_that_batch() -> None:
    feed = await fresh_feed()
    reader, other = live(feed), live(feed)
    reader.stalls = feed
    feed.extend(texts("ab"))
    assert (reader.text, reader.cursor) == ("ab", at(2))
    assert other.text == "ab"
    feed.extend(texts("c", start=2))
    assert (reader.text, other.text) == ("ab", "abc")


async def test_one_write_to_a_live_reader_is_bounded_and_who_stalls_in_it_gets_no_second() -> None:
    feed = await fresh_feed()
    reader, slow = live(feed), live(feed)
    slow.stalls = feed
    feed.extend(texts(*["x" * 20_000] * 50))
    assert reader.text == "x" * 1_000_000
    assert max(reader.writes) < 100_000
    assert len(slow.writes) == 1
    assert slow.cursor == at(len(slow.text))


async def test_a_reader_that_cannot_be_written_to_costs_the_others_nothing() -> None:
    feed = await fresh_feed()
    readers = [live(feed) for _ in range(5)]
    readers[2].fails = True
    feed.extend(texts("ab"))
    feed.extend(texts("c", start=2))
    assert [reader.text for reader in readers] == ["abc", "abc", "", "abc", "abc"]
    assert [reader.is_connected for reader in readers] == [True, True, False, True, True]


async def test_what_was_read_twice_is_taken_once() -> None:
    feed = await fresh_feed()
    reader = live(feed)
    feed.extend(texts("a", "b"))
    feed.extend(texts("a", "b", "c"))
    assert reader.text == "abc"


async def test_a_page_that_continues_the_tail_is_taken_as_its_entries_are() -> None:
    feed, other = await fresh_feed(), await fresh_feed()
    reader, twin = live(feed), live(other)
    late = waiting(feed, at(0))
    feed.extend(page("ab", "é"))
    feed.extend(page("c", start=4))
    other.extend(texts("ab", "é"))
    other.extend(texts("c", start=4))
    assert reader.raw == twin.raw
    assert (feed.tail, feed.cursor) == (other.tail, at(5))
    assert late.woken == 2
    batch, twins = feed.after(2), other.after(2)
    assert batch is not None
    assert twins is not None
    assert batch.frames(SSE, None) == twins.frames(SSE, None)


async def test_a_page_that_was_read_twice_or_has_a_hole_is_looked_into() -> None:
    feed = await fresh_feed()
    reader = live(feed)
    feed.extend(page("a", "b"))
    feed.extend(page("a", "b", "c"))
    assert reader.text == "abc"
    with pytest.raises(Diverged):
        feed.extend(page("d", start=4))
    with pytest.raises(Diverged):
        feed.extend(page("d", start=3, attempt=2))
    assert (reader.text, feed.tail) == ("abc", Position(1, 3))


async def test_a_page_of_large_events_is_written_in_bounded_pieces() -> None:
    feed = await fresh_feed()
    reader = live(feed)
    feed.extend(page(*["x" * 20_000] * 50))
    assert reader.text == "x" * 1_000_000
    assert max(reader.writes) < 100_000


async def test_a_queued_stream_has_no_attempt_that_a_page_could_continue() -> None:
    store = MemoryStore()
    meta = await store.meta(await create(store))
    assert meta is not None
    with pytest.raises(Diverged):
        feed_at(meta).extend(page("a", attempt=0))


async def test_the_end_wakes_everybody_and_nobody_is_live() -> None:
    feed = await fresh_feed()
    reader = live(feed)
    feed.extend(entries(delta("text", "a"), done("stop")))
    assert feed.is_over
    assert not feed.is_live(reader)
    assert reader.woken >= 1
    assert reader.cursor == at(2)


async def test_a_hole_is_refused_and_not_skipped() -> None:
    feed = await fresh_feed()
    reader = live(feed)
    feed.extend(texts("a"))
    with pytest.raises(Diverged):
        feed.extend(texts("c", start=2))
    assert (reader.text, feed.tail) == ("a", Position(1, 1))


async def test_an_attempt_that_no_fence_announced_is_refused() -> None:
    feed = await fresh_feed()
    with pytest.raises(Diverged):
        feed.extend(texts("a", attempt=2))


async def test_a_fence_that_keeps_everything_disturbs_nobody() -> None:
    feed = await fresh_feed()
    reader, other = live(feed), waiting(feed, at(1))
    feed.extend([*texts("ab"), fenced(2, 2), *texts("c", start=2, attempt=2)])
    assert reader.text == "abc"
    assert feed.cursor == at(3, attempt=2)
    assert feed.covers(other.cursor)
    batch = feed.after(1)
    assert batch is not None
    assert batch.entries[0].event.value == b"b"


async def test_a_fence_that_keeps_less_sends_the_live_to_judge_their_cursors() -> None:
    feed = await fresh_feed()
    reader = live(feed)
    feed.extend(texts("abcdef"))
    feed.extend([fenced(2, 3)])
    assert not feed.is_live(reader)
    assert reader.cursor == at(6)
    assert not feed.covers(reader.cursor)
    assert feed.covers(at(3))
    feed.extend(texts("XYZ", start=3, attempt=2))
    batch = feed.after(3)
    assert batch is not None
    assert [entry.event.value for entry in batch.entries] == [b"XYZ"]


async def test_a_slow_reader_of_a_discarded_attempt_is_never_spliced_onto_the_new_one() -> None:
    feed = await fresh_feed()
    slow = waiting(feed, at(0))
    feed.extend(texts("abcdef"))
    slow.cursor = at(6)
    # Before it comes by, the new attempt has outgrown what it holds.
    feed.extend([fenced(2, 3), *texts("XYZUVW", start=3, attempt=2)])
    assert not feed.covers(slow.cursor)
    assert feed.covers(at(6, attempt=2))


async def test_a_cursor_with_a_foreign_nonce_is_not_covered() -> None:
    feed = await fresh_feed()
    feed.extend(texts("abc"))
    assert not feed.covers(EventId(Position(1, 2), "ffffffff"))
    assert feed.covers(EventId(Position(1, 2), None))


async def test_what_is_ahead_of_the_feed_is_not_covered() -> None:
    feed = await fresh_feed()
    feed.extend(texts("abc"))
    assert not feed.covers(at(4))


async def test_only_the_newest_batches_are_kept() -> None:
    feed = await fresh_feed(max_bytes=20_000)
    for number in range(100):
        feed.extend(texts("x" * 100, start=100 * number))
    assert 0 < feed.base < feed.tail.offset
    assert not feed.covers(at(feed.base - 1))
    assert feed.covers(at(feed.base))
    batch = feed.after(feed.base)
    assert batch is not None
    assert batch.start == feed.base


async def test_a_batch_larger_than_the_bound_is_kept_while_it_is_the_newest() -> None:
    feed = await fresh_feed(max_bytes=1_000)
    feed.extend(texts("x" * 10_000))
    assert feed.covers(at(0))


async def test_what_a_reader_was_given_is_kept_if_it_leads_up_to_what_is_kept() -> None:
    feed = feed_at(await meta_of("abc", "def"))
    given = Batch(texts("abc", "def"), feed.nonces)
    feed.prepend(given, feed.nonces)
    assert (feed.base, feed.covers(at(1))) == (0, True)
    feed.extend(texts("ghi", start=6))
    late = waiting(feed, at(2))
    assert walk(feed, late) == "cdefghi"


async def test_of_what_a_reader_was_given_only_what_is_lacking_is_kept() -> None:
    """The reader's page may reach beyond the feed's tail, which has yet to take it in."""
    feed = feed_at(await meta_of("abc"))
    feed.prepend(Batch(texts("abc", "def"), feed.nonces), feed.nonces)
    assert (feed.base, feed.tail) == (0, Position(1, 3))
    feed.extend(texts("def", start=3))
    assert walk(feed, waiting(feed, at(0))) == "abcdef"
    kept_bytes = feed.kept_bytes
    feed.prepend(Batch(texts("abc", "def"), feed.nonces), feed.nonces)
    assert (feed.base, feed.kept_bytes) == (0, kept_bytes)


async def test_what_does_not_lead_up_to_what_is_kept_is_not_kept() -> None:
    feed = feed_at(await meta_of("abc", "def"))
    for given in (texts("abc"), texts("abcd"), texts("abcdefg"), texts("ghi", start=6)):
        feed.prepend(Batch(given, feed.nonces), feed.nonces)
        assert feed.base == 6


async def test_what_may_be_of_another_text_is_not_kept() -> None:
    """Redis was read ahead of the tail, which has yet to hear that an attempt went back and on from there."""
    feed = feed_at(await meta_of("abc", "def"))
    nonces = {**feed.nonces, 2: nonce(2)}
    given = [*texts("abc"), *texts("xyz", start=3, attempt=2)]
    feed.prepend(Batch(given, nonces), nonces)
    assert feed.base == 6


async def test_what_a_reader_was_given_does_not_take_the_place_of_news() -> None:
    feed = feed_at(await meta_of("abc" * 1000), max_bytes=2000)
    feed.prepend(Batch(texts("abc" * 1000), feed.nonces), feed.nonces)
    assert (feed.base, feed.kept_bytes) == (3000, 0)


def walk(feed: Feed, listener: Listener) -> str:
    """What a reader at its cursor gets of the feed, one batch after the other."""
    offset, said = listener.cursor.position.offset, b""
    while (batch := feed.after(offset)) is not None:
        assert batch.start == offset
        said, offset = said + batch.frames(SSE, None), batch.end
    return "".join((item.data or {}).get("delta", "") for item in SseParser().feed(said))


async def test_a_rebase_starts_where_redis_is() -> None:
    feed = await fresh_feed()
    reader, other = live(feed), waiting(feed, at(0))
    feed.extend(texts("ab"))
    feed.rebase(await meta_of("abcd"))
    assert not feed.is_live(reader)
    assert reader.cursor == at(2)
    assert (feed.base, feed.tail) == (4, Position(1, 4))
    assert other.woken >= 2
    feed.extend(texts("e", start=4))
    assert feed.covers(at(4))


async def test_a_queued_stream_is_followed_from_nothing() -> None:
    store = MemoryStore()
    stream_id = await create(store)
    meta = await store.meta(stream_id)
    assert meta is not None
    feed = feed_at(meta)
    reader = live(feed)
    assert feed.covers(EventId(START, None))
    assert reader.cursor == EventId(START, None)
    feed.extend([fenced(1, 0), *texts("a")])
    assert reader.text == "a"
    feed.leave(reader)
    assert reader.cursor == at(1)


async def test_a_stream_that_lost_all_its_attempts_is_rebased_to_nothing() -> None:
    feed = await fresh_feed()
    reader = live(feed)
    feed.extend(texts("ab"))
    store = MemoryStore()
    lost = await store.meta(await create(store))
    assert lost is not None
    feed.rebase(lost)
    assert feed.tail == START
    assert not feed.covers(reader.cursor)
    assert feed.covers(EventId(START, None))


async def test_a_stream_that_vanishes_wakes_everybody() -> None:
    feed = await fresh_feed()
    reader, other = live(feed), waiting(feed, at(0))
    feed.vanish()
    assert feed.is_gone
    assert not feed.is_live(reader)
    assert min(reader.woken, other.woken) > 0


async def test_a_feed_of_a_second_attempt_knows_the_first() -> None:
    store = MemoryStore()
    stream_id = await begin(store, lease_ms=-1000)
    await write(store, stream_id, "abc")
    await claim(store, stream_id, 2, mode="continue")
    meta = await store.meta(stream_id)
    assert meta is not None
    feed = feed_at(meta)
    assert feed.tail == Position(2, 3)
    assert feed.covers(at(3))
    assert repr(feed) == f"<Feed {stream_id[:8]}… at 2-3 readers=0 live=0>"
