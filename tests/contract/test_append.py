"""append: OK, TAIL, FENCED, CLOSED, GONE; and batches that are refused as a whole."""

from collections.abc import Sequence
from typing import Any, cast

import pytest

from shared.errors import StoreMisused
from shared.log import events
from shared.log.events import Event
from shared.log.position import Position
from shared.store.accounting import share_bytes
from shared.store.calls import Append
from shared.store.redis.store import RedisStore
from shared.store.replies import Appended, Claimed, Closed, Ended, Fenced, Gone, TailMismatch
from shared.store.state import Meta
from shared.store.store import Store
from tests.support.streams import (
    OVER_MS,
    REQUEST,
    RETENTION,
    append,
    begin,
    claim,
    create,
    end,
    log,
    nonce,
    texts,
    write,
)

__all__ = ()

NOBODY = "f" * 32
OVERHEAD = 16
FINE = events.delta("text", "fine")


async def meta_of(store: Store, stream_id: str) -> Meta:
    meta = await store.meta(stream_id)
    assert meta is not None
    return meta


def spent(line: str) -> dict[str, Any]:
    return {"usage:1": line}


async def test_an_append_moves_the_tail(any_store: Store) -> None:
    stream_id = await begin(any_store)
    reply = await append(any_store, stream_id, [events.delta("reasoning", "hm"), *texts("h€llo")], safe=0)
    assert reply == Appended(9, cancelling=False, bytes=len(REQUEST) + 2 + OVERHEAD + 2 + 7 + OVERHEAD)
    entries = await log(any_store, stream_id)
    assert [(str(entry.position), entry.event.kind) for entry in entries] == [
        ("1-0", "fence"),
        ("1-2", "reasoning"),
        ("1-9", "text"),
    ]
    meta = await meta_of(any_store, stream_id)
    assert (meta.tail, meta.bytes) == (9, reply.bytes)
    assert meta.first_ms >= meta.started_ms > 0


async def test_every_kind_of_event_comes_back_as_it_was(any_store: Store) -> None:
    stream_id = await begin(any_store)
    batch = [
        events.delta("reasoning", "think\r\n\u2028"),
        events.delta("text", "\x00\U0001f30a é"),
        events.delta("refusal", "no"),
        events.tool_call(0, '{"ci', call_id="call_1", name="weather"),
        events.tool_call(0, 'ty":"Zürich"}'),
        events.tool_call(1, "", call_id="call_2", name="time", provider_data={"signature": 's"\\'}),
        events.reasoning_end({"reasoning_details": [{"data": "x\u2028"}]}),
        events.annotation({"type": "url_citation"}),
        *events.file_pieces(0, "data:image/png;base64," + "A" * events.MAX_EVENT_BYTES, "image/png"),
        events.usage({"input_tokens": 3, "output_tokens": 9}),
        events.error("provider_failed", "The model provider failed.", retryable=True),
    ]
    await append(any_store, stream_id, batch)
    entries = await log(any_store, stream_id)
    assert [entry.event for entry in entries[1:]] == batch


async def test_the_same_append_again_finds_the_tail(any_store: Store) -> None:
    stream_id = await begin(any_store)
    await write(any_store, stream_id, "once")
    assert await append(any_store, stream_id, texts("once")) == TailMismatch(4)
    assert len(await log(any_store, stream_id)) == 2


@pytest.mark.parametrize("tail", [3, 5])
async def test_another_tail_is_a_mismatch(any_store: Store, tail: int) -> None:
    stream_id = await begin(any_store)
    await write(any_store, stream_id, "four")
    before = await meta_of(any_store, stream_id)
    assert await append(any_store, stream_id, texts("five"), tail=tail) == TailMismatch(4)
    assert await meta_of(any_store, stream_id) == before


async def test_another_nonce_is_fenced(any_store: Store) -> None:
    stream_id = await begin(any_store)
    assert await append(any_store, stream_id, texts("no"), number=2) == Fenced(1)
    assert (await meta_of(any_store, stream_id)).tail == 0


async def test_what_never_was_is_gone(any_store: Store) -> None:
    assert await append(any_store, NOBODY, texts("no")) == Gone()


async def test_a_stream_that_nobody_claimed_cannot_be_written(any_store: Store) -> None:
    stream_id = await create(any_store)
    assert await append(any_store, stream_id, texts("no")) == Fenced(0)
    assert (await meta_of(any_store, stream_id)).tail == 0


@pytest.mark.parametrize(
    ("event", "status"),
    [
        (events.done("stop"), "done"),
        (events.error("provider_stalled", "…", retryable=True), "error"),
        (events.CANCELLED, "cancelled"),
    ],
)
async def test_a_terminal_event_closes_the_stream(any_store: Store, event: Event, status: str) -> None:
    stream_id = await begin(any_store)
    reply = await append(any_store, stream_id, [*texts("bye"), event], finish_reason="stop")
    assert reply == Appended(4, cancelling=False, bytes=3 + len(event.value) + 2 * OVERHEAD + 2)
    meta = await meta_of(any_store, stream_id)
    assert (meta.status, meta.is_over, meta.tail, meta.finish_reason) == (status, True, 4, "stop")
    assert meta.bytes == reply.bytes
    assert meta.finished_ms > 0 == meta.lease_ms
    assert meta.expires_ms == meta.finished_ms + RETENTION.retain_ms
    assert (await log(any_store, stream_id))[-1].event == event
    assert await any_store.due(limit=10) == []


async def test_the_own_terminal_append_repeated_is_closed(any_store: Store) -> None:
    stream_id = await begin(any_store)
    tail = await write(any_store, stream_id, "text")
    closing = Append(stream_id, nonce(1), tail, [events.done("stop")], tail + 1)
    first, second = await any_store.append([closing, closing], RETENTION)
    assert isinstance(first, Appended)
    assert second == Closed("done", 5)
    assert [entry.event.kind for entry in await log(any_store, stream_id)] == ["fence", "text", "done"]


async def test_nothing_follows_the_end(any_store: Store) -> None:
    stream_id = await begin(any_store)
    tail = await end(any_store, stream_id)
    assert await append(any_store, stream_id, texts("more"), tail=tail) == Closed("done", 1)


async def test_updates_go_into_meta_in_the_same_step(any_store: Store) -> None:
    stream_id = await begin(any_store)
    await append(any_store, stream_id, texts("hi"), provider="local", **spent("by=local out=2"))
    meta = await meta_of(any_store, stream_id)
    assert (meta.provider, meta.usages) == ("local", {1: {"provider": "local", "output_tokens": 2}})
    refused = await append(any_store, stream_id, texts("hi"), provider="other")
    assert refused == TailMismatch(2)
    assert (await meta_of(any_store, stream_id)).provider == "local"


async def test_usage_is_summed_once_its_writer_has_ended_the_stream(any_store: Store) -> None:
    stream_id = await begin(any_store)
    await append(any_store, stream_id, texts("hi"), **spent("by=local in=3 out=2 bytes=2"))
    assert (await meta_of(any_store, stream_id)).usage is None
    await append(any_store, stream_id, [events.done("stop")], tail=2, **spent("by=local in=3 out=2"))
    each = {"attempt": 1, "provider": "local", "input_tokens": 3, "output_tokens": 2}
    expected = {"input_tokens": 3, "output_tokens": 2, "complete": True, "attempts": [each]}
    assert (await meta_of(any_store, stream_id)).usage == expected


async def test_no_usage_is_told_of_a_stream_that_nobody_held_at_its_end(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=1)
    await append(any_store, stream_id, texts("hi"), **spent("by=local in=3 out=2"))
    await any_store.release(stream_id, nonce(1))
    ended = await any_store.finish(stream_id, events.CANCELLED, nonce=nonce(2), retention=RETENTION)
    assert isinstance(ended, Ended)
    assert (await meta_of(any_store, stream_id)).usage is None


async def test_an_append_without_events_only_updates(any_store: Store) -> None:
    stream_id = await begin(any_store)
    assert isinstance(await append(any_store, stream_id, [], provider="local"), Appended)
    meta = await meta_of(any_store, stream_id)
    assert (meta.provider, meta.tail, meta.first_ms) == ("local", 0, 0)
    assert [entry.event.kind for entry in await log(any_store, stream_id)] == ["fence"]


async def test_an_ending_is_no_first_word(any_store: Store) -> None:
    for ending in (events.error("provider_failed", "It failed.", retryable=True), events.done("stop")):
        stream_id = await begin(any_store)
        assert isinstance(await append(any_store, stream_id, [ending]), Appended)
        assert (await meta_of(any_store, stream_id)).first_ms == 0


async def test_the_first_text_has_its_time_once(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    await write(any_store, stream_id, "first")
    first_ms = (await meta_of(any_store, stream_id)).first_ms
    await claim(any_store, stream_id, 2, mode="restart")
    await write(any_store, stream_id, "again", number=2)
    assert (await meta_of(any_store, stream_id)).first_ms == first_ms > 0


async def test_a_cancel_flag_comes_with_the_answer(any_store: Store) -> None:
    stream_id = await begin(any_store)
    await any_store.cancel(stream_id, attempt=1, nonce=nonce(9), retention=RETENTION)
    reply = await append(any_store, stream_id, texts("hi"))
    assert isinstance(reply, Appended)
    assert reply.cancelling


BAD_BATCHES: dict[str, Sequence[Event]] = {
    "text of another size": [FINE, Event("text", b"hello", 4), FINE],
    "text of size 0": [FINE, Event("text", b"", 0), FINE],
    "usage of size 0": [FINE, events.usage({})._replace(size=0), FINE],
    "usage of two units": [FINE, events.usage({})._replace(size=2), FINE],
    "a negative size": [FINE, events.usage({})._replace(size=-1), FINE],
    "half a unit": [FINE, events.usage({})._replace(size=cast("int", 1.5)), FINE],
    "an unknown kind": [FINE, Event("song", b"{}", 1), FINE],
    "a fence": [FINE, events.fence(nonce=nonce(1), keep=4, reason="forged", worker="me"), FINE],
    "something after the end": [FINE, events.done("stop"), FINE],
    "two ends": [FINE, events.done("stop"), events.CANCELLED],
}


@pytest.mark.parametrize("batch", BAD_BATCHES.values(), ids=BAD_BATCHES)
async def test_a_bad_event_in_a_batch_leaves_nothing_behind(any_store: Store, batch: Sequence[Event]) -> None:
    stream_id = await begin(any_store)
    await write(any_store, stream_id, "before")
    log_before, meta_before = await log(any_store, stream_id), await meta_of(any_store, stream_id)
    with pytest.raises(StoreMisused, match=r"^append: "):
        await append(any_store, stream_id, batch, tail=6, safe=6, provider="other")
    assert await log(any_store, stream_id) == log_before
    assert await meta_of(any_store, stream_id) == meta_before


@pytest.mark.parametrize(
    ("safe", "why"),
    [(11, "beyond the tail"), (3, "moves back"), (-1, "moves back"), (8, "inside an event"), (5, "inside an event")],
)
async def test_a_bad_safe_offset_leaves_nothing_behind(any_store: Store, safe: int, why: str) -> None:
    stream_id = await begin(any_store)
    await write(any_store, stream_id, "four", "+2", safe=4)
    log_before = await log(any_store, stream_id)
    with pytest.raises(StoreMisused, match=why):
        await append(any_store, stream_id, texts("four"), tail=6, safe=safe)
    assert await log(any_store, stream_id) == log_before


async def test_the_safe_offset_may_be_the_end_of_an_older_event(any_store: Store) -> None:
    stream_id = await begin(any_store, lease_ms=OVER_MS)
    await write(any_store, stream_id, "ab", "cd", "ef", safe=2)
    await write(any_store, stream_id, "gh", tail=6, safe=4)
    await claim(any_store, stream_id, 2, mode="continue")
    assert [entry.position for entry in await log(any_store, stream_id)] == [
        Position(1, 0),
        Position(1, 2),
        Position(1, 4),
        Position(2, 4),
    ]


async def test_one_refusal_does_not_disturb_the_others(any_store: Store) -> None:
    good, bad = await begin(any_store), await begin(any_store)
    calls = [
        Append(bad, nonce(1), 0, [Event("song", b"{}", 1)], 0),
        Append(good, nonce(1), 0, texts("fine"), 4),
        Append(NOBODY, nonce(1), 0, texts("fine"), 4),
    ]
    refused, answered, gone = await any_store.append(calls, RETENTION)
    assert isinstance(refused, StoreMisused)
    assert isinstance(answered, Appended)
    assert gone == Gone()


async def written(store: Store, text: str) -> str:
    """A stream with this text in it."""
    stream_id = await begin(store)
    await write(store, stream_id, text)
    return stream_id


def one_more(stream_id: str, text: str, *, tail: int, number: int = 1) -> Append:
    event = events.delta("text", text)
    return Append(stream_id, nonce(number), tail, (event,), tail + event.size)


async def test_deltas_of_many_streams_share_a_batch(any_store: Store) -> None:
    """What a busy worker sends: one delta each, with now and then something longer between them."""
    streams = [await written(any_store, "begun") for _ in range(300)]
    tails = [5] * len(streams)
    for turn in range(3):
        calls = [one_more(each, f" {turn}€", tail=tail) for each, tail in zip(streams, tails, strict=True)]
        calls[77] = Append(streams[77], nonce(1), tails[77], [*texts(" ", f"{turn}€"), events.usage({})], tails[77] + 6)
        replies = await any_store.append(calls, RETENTION)
        tails = [tail + 5 + (each == 77) for each, tail in enumerate(tails)]
        assert [reply.tail for reply in replies if isinstance(reply, Appended)] == tails
    for each in (0, 76, 77, 78, 299):
        meta, entries = await meta_of(any_store, streams[each]), await log(any_store, streams[each])
        assert b"".join(e.event.value for e in entries if e.event.kind == "text").decode() == "begun 0€ 1€ 2€"
        assert meta.bytes == len(REQUEST) + 2 + sum(len(e.event.value) + OVERHEAD for e in entries[1:])
        await any_store.release(streams[each], nonce(1))
        assert await claim(any_store, streams[each], 2, mode="continue") == Claimed(2, meta.tail, REQUEST, False, "")


async def test_each_delta_of_a_batch_is_refused_by_itself(any_store: Store) -> None:
    names = ("good", "closed", "behind", "fenced", "cancelled", "last")
    good, closed, behind, fenced, cancelled, last = [await written(any_store, "four") for _ in names]
    await end(any_store, closed, tail=4)
    await any_store.release(fenced, nonce(1))
    await claim(any_store, fenced, 2, mode="continue")
    await any_store.cancel(cancelled, attempt=1, nonce=nonce(9), retention=RETENTION)
    queued = await create(any_store)
    calls = [one_more(each, "!", tail=4) for each in (good, closed, fenced, cancelled, NOBODY, queued, last)]
    calls.insert(2, one_more(behind, "!", tail=3))
    replies = list(await any_store.append(calls, RETENTION))
    told = Appended(5, cancelling=True, bytes=len(REQUEST) + 2 + 2 * OVERHEAD + 5)
    assert replies[1:-1] == [Closed("done", 5), TailMismatch(4), Fenced(2), told, Gone(), Fenced(0)]
    for each, reply in ((good, replies[0]), (last, replies[-1])):
        assert isinstance(reply, Appended)
        assert (reply.tail, (await meta_of(any_store, each)).tail) == (5, 5)
    assert (await meta_of(any_store, behind)).tail == 4


async def test_the_first_delta_of_a_batch_has_its_time(any_store: Store) -> None:
    streams = [await begin(any_store) for _ in range(2)]
    await any_store.append([one_more(each, "hi", tail=0) for each in streams], RETENTION)
    for each in streams:
        meta = await meta_of(any_store, each)
        assert meta.first_ms >= meta.started_ms > 0


async def test_what_a_stream_holds_is_told_in_time(any_store: Store) -> None:
    """Its writer hears of each half KiB, and the sums of each 16: also where it never appends alone."""
    streams, tail = [await begin(any_store) for _ in range(3)], 0
    told = dict.fromkeys(streams, 0)
    for _ in range(90):
        calls = [one_more(each, "x" * 300, tail=tail) for each in streams]
        tail += 300
        for each, reply in zip(streams, await any_store.append(calls, RETENTION), strict=True):
            assert isinstance(reply, Appended)
            held = (await meta_of(any_store, each)).bytes
            told[each] = reply.unfolded or told[each]
            assert held - len(REQUEST) - 2 - 512 < told[each] <= held
    counted, held = (await any_store.usage()).bytes, sum([(await meta_of(any_store, each)).bytes for each in streams])
    assert held - 3 * 16_384 < counted - 3 * share_bytes(folded=0, is_fully_folded=False) <= held


async def test_a_lost_log_in_a_batch_is_gone(store: RedisStore) -> None:
    kept, lost, odd = [await written(store, "four") for _ in range(3)]
    await store.client.delete(store.keys.stream(lost), store.keys.stream(odd))
    await store.client.set(store.keys.stream(odd), "not a stream")
    replies = await store.append([one_more(each, "!", tail=4) for each in (lost, odd, kept)], RETENTION)
    assert replies[0] == Gone()
    assert isinstance(replies[1], StoreMisused)
    assert "WRONGTYPE" in str(replies[1])
    assert replies[2] == Appended(5)
    assert (await meta_of(store, odd)).tail == 4


async def test_nothing_to_append_is_nothing_to_do(any_store: Store) -> None:
    nothing: list[Any] = []
    assert list(await any_store.append(nothing, RETENTION)) == []
    assert list(await any_store.heartbeat(nothing, RETENTION)) == []
