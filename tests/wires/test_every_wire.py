"""What every wire keeps on every carrier. A new wire is about to be tested once `hearing.py` can hear it."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest

from services.edge.wires.notices import Heartbeat
from services.edge.wires.wire import Wire
from shared.log import events
from shared.log.events import Event
from shared.store.calls import Compact
from shared.store.redis.store import RedisStore
from tests.support.calls import ask, edge_readers
from tests.support.script import HAZARDS, Script, expected
from tests.support.sse_client import Answer, SseParser, opened
from tests.support.streams import RETENTION, append, begin, nonce, texts
from tests.support.waiting import eventually
from tests.wires.conftest import Carrier
from tests.wires.hearing import HEARINGS, Hearing
from tests.wires.registered import WIRES

__all__ = ()

HEARTBEAT_S = 1.0
LAST = "The last word."
# No word of theirs takes anything back, and after an error their clients would not ask again.
CUT_AT_A_RESET = {"ai-sdk-6"}
SAID = "".join(HAZARDS)
# The provider numbers its calls as it likes, and goes back to one that it has begun.
MESSAGE: list[Event] = [
    *[events.delta("reasoning", text) for text in HAZARDS],
    *texts(*HAZARDS),
    events.tool_call(4, '{"a":', call_id="call_a", name="first"),
    events.tool_call(9, SAID, call_id="call_b", name="second"),
    events.tool_call(9, "}"),
    events.usage({"total_tokens": 3}),
]
SPOKEN = [("reasoning", SAID), ("text", SAID), ("tool_call", '{"a":'), ("tool_call", SAID + "}")]
CALLS = [(0, "call_a", "first"), (1, "call_b", "second")]


def units(written: list[Event]) -> int:
    return sum(event.size for event in written)


async def told(log: RedisStore, *ending: Event) -> str:
    """A stream that holds the message, and perhaps an ending."""
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, [*MESSAGE, *ending])
    return stream_id


@asynccontextmanager
async def reading(carrier: Carrier, stream_id: str, wire: Wire, cursor: str | None = None) -> AsyncIterator[Answer]:
    path = f"/v1/streams/{stream_id}/events?wire={wire.name}"
    headers = {} if cursor is None else {"last-event-id": cursor}
    async with opened(carrier.port, "GET", path, headers=headers, version=carrier.version) as answer:
        assert answer.status == 200
        yield answer


async def heard(answer: Answer, wire: Wire) -> Hearing:
    """What there was to hear up to the proper end of a response."""
    hearing = HEARINGS[wire.name]()
    async for part in answer.body():
        hearing.feed(part)
    assert answer.is_complete
    return hearing


def log_only(raw: bytes, wire: Wire) -> bytes:
    """The bytes of a response without what depends on when it began, and on how long nothing happened."""
    return re.sub(rb"\Aretry: \d+\n", b"", raw.replace(wire.notice(Heartbeat(), None), b""))


def test_every_wire_can_be_heard() -> None:
    assert {wire.name for wire in WIRES} == set(HEARINGS)


async def test_a_live_answer_arrives_exactly(carrier: Carrier, wire: Wire) -> None:
    script = Script(f"live-{carrier.port}-{carrier.version}-{wire.name}", chunks=90, rate=200, kinds="mixed")
    async with reading(carrier, await ask(carrier.port, script), wire) as answer:
        hearing = await heard(answer, wire)
    assert (hearing.spoken(), hearing.ending, hearing.starts) == (expected(script), "done", 1)


async def test_what_others_stumble_over_arrives_byte_for_byte(log: RedisStore, carrier: Carrier, wire: Wire) -> None:
    """Line ends of every kind, NUL, markup, other protocols' words: model output is data. Half late, half live."""
    stream_id = await begin(log, tenant="public")
    call = events.tool_call(0, SAID, call_id="\r\n\x00\u2028", name="data: [DONE]\n\n")
    tail = units([*texts(*HAZARDS), call])
    await append(log, stream_id, [*texts(*HAZARDS), call])
    hearing, raw = HEARINGS[wire.name](), b""
    async with reading(carrier, stream_id, wire) as answer:
        await append(log, stream_id, [*texts(*HAZARDS), events.done("stop")], tail=tail)
        async for part in answer.body():
            raw += part
            hearing.feed(part)
    assert hearing.spoken() == [("text", SAID), ("tool_call", SAID), ("text", SAID)]
    assert hearing.calls() == [(0, "\r\n\x00\u2028", "data: [DONE]\n\n")]
    assert not set(raw.decode()) & set("\r\x00\u0085\u2028\u2029")


async def test_headers_keep_everybody_on_the_way_from_collecting(log: RedisStore, carrier: Carrier, wire: Wire) -> None:
    async with reading(carrier, await begin(log, tenant="public"), wire) as answer:
        assert answer.headers["content-type"] == wire.media_type
        assert answer.headers["cache-control"] == "no-cache, no-transform"
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "content-length" not in answer.headers
        assert "content-encoding" not in answer.headers
        assert "server" not in answer.headers


async def test_a_silent_stream_is_kept_open_by_heartbeats(log: RedisStore, carrier: Carrier, wire: Wire) -> None:
    """Never longer than the interval without a byte, and a heartbeat is no event."""
    hearing, clock, times = HEARINGS[wire.name](), asyncio.get_running_loop().time, list[float]()
    async with reading(carrier, await begin(log, tenant="public"), wire) as answer:
        async with asyncio.timeout(10 * HEARTBEAT_S):
            async for part in answer.body():
                before = hearing.beats
                hearing.feed(part)
                times += [clock()] * (hearing.beats - before)
                if len(times) >= 3:
                    break
    # The machine that runs this may be busy; proxies give a minute.
    assert max(later - earlier for earlier, later in pairwise(times)) < 2 * HEARTBEAT_S
    assert not hearing.spoken()


@pytest.mark.parametrize("is_folded", [False, True], ids=["as written", "folded"])
async def test_a_finished_stream_is_told_whole(log: RedisStore, carrier: Carrier, wire: Wire, is_folded: bool) -> None:
    stream_id = await told(log, events.done("stop"))
    if is_folded:
        await log.compact([Compact(stream_id)])
    async with reading(carrier, stream_id, wire) as answer:
        hearing = await heard(answer, wire)
    assert (hearing.spoken(), hearing.calls(), hearing.ending) == (SPOKEN, CALLS, "done")


async def test_whoever_comes_in_the_middle_gets_the_bytes_that_all_others_get(
    log: RedisStore, carrier: Carrier, wire: Wire
) -> None:
    """So frames can be shared: they depend on the log alone, whoever reads it, since when, and in what pieces.

    Of a live stream: a finished one may be folded between two looks, and then has other events.
    """
    stream_id = await told(log, *texts(LAST))
    sse = next(wire for wire in WIRES if wire.name == "sse")
    ids = [item.id for item in SseParser().feed(await told_so_far(carrier, stream_id, sse)) if item.id is not None]
    whole = await told_so_far(carrier, stream_id, wire)
    for event_id in ids[:-1:3]:
        rest = await told_so_far(carrier, stream_id, wire, event_id)
        assert whole.endswith(rest)
        assert len(rest) < len(whole)


async def told_so_far(carrier: Carrier, stream_id: str, wire: Wire, cursor: str | None = None) -> bytes:
    """The bytes of a live stream's log up to its last event."""
    raw = b""
    async with reading(carrier, stream_id, wire, cursor) as answer, asyncio.timeout(20):
        async for part in answer.body():
            raw += part
            if LAST.encode() in raw and raw.endswith(b"\n"):
                break
    return log_only(raw, wire).rstrip(b"\n")


async def test_whoever_joins_in_the_middle_of_a_live_stream_hears_what_the_others_hear(
    log: RedisStore, carrier: Carrier, wire: Wire
) -> None:
    stream_id = await told(log)
    tail = units(MESSAGE)
    more = [*texts(*HAZARDS), events.tool_call(2, SAID, call_id="call_c", name="third"), events.done("stop")]
    middle = f"1-{units(MESSAGE[:-2])}.{nonce(1)}"
    before = await edge_readers(carrier.port)
    async with reading(carrier, stream_id, wire) as one, reading(carrier, stream_id, wire, middle) as other:
        await eventually(lambda: has_readers(carrier.port, before + 2))
        await append(log, stream_id, more, tail=tail)
        whole, rest = [log_only(await answer.read(), wire) for answer in (one, other)]
    assert one.is_complete
    assert other.is_complete
    assert whole.endswith(rest)
    hearing = HEARINGS[wire.name]()
    hearing.feed(whole)
    assert hearing.spoken() == [*SPOKEN, ("text", SAID), ("tool_call", SAID)]
    assert hearing.calls() == [*CALLS, (2, "call_c", "third")]


async def has_readers(port: int, number: int) -> bool:
    return await edge_readers(port) == number


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        (events.done("length"), "done"),
        (events.error("provider_failed", "It broke.", retryable=False), "provider_failed"),
        (events.cancelled(), "cancelled"),
    ],
    ids=["done", "error", "cancelled"],
)
async def test_every_ending_is_told_and_ends_the_response(
    log: RedisStore, carrier: Carrier, wire: Wire, ending: Event, said: str
) -> None:
    async with reading(carrier, await told(log, ending), wire) as answer:
        hearing = await heard(answer, wire)
    assert (hearing.ending, hearing.spoken()) == (said, SPOKEN)


async def test_a_stream_that_vanishes_is_told_in_the_words_of_the_wire(
    log: RedisStore, carrier: Carrier, wire: Wire
) -> None:
    stream_id = await told(log)
    before = await edge_readers(carrier.port)
    async with reading(carrier, stream_id, wire) as answer:
        await eventually(lambda: has_readers(carrier.port, before + 1))
        await log.delete(stream_id, RETENTION)
        hearing = await heard(answer, wire)
    assert hearing.ending in {"stream_gone", "gone"}


async def test_what_was_told_is_taken_back_or_the_reader_is_told_that_it_cannot_be(
    log: RedisStore, carrier: Carrier, wire: Wire
) -> None:
    """A cursor that is none of this log: the message from its beginning, or an error and the end, or a cut."""
    stream_id = await told(log, events.done("stop"))
    async with reading(carrier, stream_id, wire, f"7-5.{nonce(7)}") as answer:
        if wire.name in CUT_AT_A_RESET:
            # A body without a length has no other end than that of its connection.
            assert carrier.version == "1.0" or await is_cut(answer)
            return
        hearing = await heard(answer, wire)
    assert (hearing.ending, hearing.spoken()) in [("done", SPOKEN), ("reset", [])]


async def is_cut(answer: Answer) -> bool:
    """Return whether a response broke off before it said anything."""
    try:
        said = await answer.read()
    except ConnectionError:
        return True
    return not said and not answer.is_complete


async def test_a_wire_is_chosen_by_name_before_accept(log: RedisStore, carrier: Carrier, wire: Wire) -> None:
    stream_id = await told(log, events.done("stop"))
    for headers in ({}, {"accept": "application/json"}, {"accept": "text/event-stream"}):
        path = f"/v1/streams/{stream_id}/events?wire={wire.name}"
        async with opened(carrier.port, "GET", path, headers=headers, version=carrier.version) as answer:
            assert answer.headers["content-type"] == wire.media_type
            assert (await heard(answer, wire)).spoken() == SPOKEN


async def test_a_wire_is_chosen_by_its_media_types(log: RedisStore, carrier: Carrier, wire: Wire) -> None:
    stream_id = await told(log, events.done("stop"))
    for media_type in wire.accepts:
        path = f"/v1/streams/{stream_id}/events"
        async with opened(carrier.port, "GET", path, headers={"accept": media_type}) as answer:
            assert (await heard(answer, wire)).spoken() == SPOKEN


async def test_a_wire_that_there_is_not_is_refused_with_those_that_there_are(log: RedisStore, carrier: Carrier) -> None:
    path = f"/v1/streams/{await told(log)}/events?wire=telex"
    async with opened(carrier.port, "GET", path, version=carrier.version) as answer:
        assert answer.status == 400
        error = (await answer.json())["error"]
    assert error["code"] == "invalid_request"
    assert "telex" not in error["message"]
    assert all(wire.name in error["message"] for wire in WIRES)
