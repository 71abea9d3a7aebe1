"""One table: whatever way a cursor is judged, it gets the same verdict."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from urllib.parse import quote

import pytest

from shared.log import events
from shared.log.events import Event
from shared.store.calls import Compact
from shared.store.redis.store import RedisStore
from shared.store.replies import Claimed, Compacted
from tests.support.sse_client import NDJSON, SSE, Answer, Item, opened
from tests.support.stack import Stack
from tests.support.streams import append, begin, claim, nonce, texts

__all__ = ()

pytestmark = pytest.mark.timeout(120)

# Attempt 1 wrote six units, of which attempt 2 kept four. In the comments the offsets at which the events end.
FIRST = texts("alt ", "é")  # 4, 6
KEPT = 4
SECOND: list[Event] = [
    events.delta("reasoning", "né"),  # 7
    *texts("zwei 🎉", "日"),  # 16, 19
    events.tool_call(0, '{"ort":"K', call_id="c", name="f"),  # 29
    events.tool_call(0, 'öln"}'),  # 35
]
TAIL = 35
UNITS: list[tuple[str, bytes]] = [
    *[("text", bytes([byte])) for byte in b"alt "],
    *[("reasoning", bytes([byte])) for byte in "né".encode()],
    *[("text", bytes([byte])) for byte in "zwei 🎉日".encode()],
    ("tool_call", b""),
    *[("tool_call", bytes([byte])) for byte in '{"ort":"Köln"}'.encode()],
]
FORGED = "ffffffff"

# A number: what follows this offset. A word: a reset for this reason. "refused": 400.
Expected = int | str
CURSORS: dict[str, Expected] = {
    "0-0": 0,
    "1-0": 0,
    f"2-0.{nonce(2)}": 0,
    f"2-2.{nonce(2)}": 2,  # a good place, but no attempt calls it so
    "2-2": 2,
    f"1-2.{nonce(1)}": 2,
    "1-2": 2,
    f"1-4.{nonce(1)}": 4,
    f"2-4.{nonce(2)}": 4,
    f"2-5.{nonce(2)}": 5,
    f"2-7.{nonce(2)}": 7,
    f"2-9.{nonce(2)}": 9,
    f"2-16.{nonce(2)}": 16,
    f"2-19.{nonce(2)}": 19,
    f"2-20.{nonce(2)}": 20,
    "2-20": 20,
    f"2-24.{nonce(2)}": 24,
    f"2-29.{nonce(2)}": 29,
    f"2-31.{nonce(2)}": 31,
    f"2-{TAIL}.{nonce(2)}": TAIL,
    f"2-{TAIL}": TAIL,
    # Inside a character: of two, four and three bytes, of a tool call's arguments, with and without the nonce.
    f"2-6.{nonce(2)}": "log_lost",
    "2-6": "log_lost",
    f"2-13.{nonce(2)}": "log_lost",
    f"2-14.{nonce(2)}": "log_lost",
    f"2-15.{nonce(2)}": "log_lost",
    "2-14": "log_lost",
    f"2-17.{nonce(2)}": "log_lost",
    "2-18": "log_lost",
    f"2-30.{nonce(2)}": "log_lost",
    "2-30": "log_lost",
    # Of what was thrown away, and of logs that are not this one.
    f"1-5.{nonce(1)}": "new_attempt",
    "1-6": "new_attempt",
    f"2-9.{FORGED}": "log_lost",
    f"3-9.{nonce(3)}": "log_lost",
    "0-5": "log_lost",
    f"0-0.{nonce(1)}": "log_lost",
    f"2-99.{nonce(2)}": "log_lost",
    "2-99": "beyond_tail",
    f"2-{2**53 - 1}": "beyond_tail",
    # No event ids.
    f"2-{2**53}": "refused",
    "2-9.FFFFFFFF": "refused",
    "2--9": "refused",
}


@dataclass
class Verdict:
    """What one connection was told, folded as a client would."""

    status: int = 0
    resets: list[str] = field(default_factory=list)
    said: dict[str, str] = field(default_factory=dict)

    def take(self, item: Item) -> None:
        event = item.data or {"type": ""}
        if event["type"] == "reset":
            self.resets.append(event["reason"])
            self.said = {}
            for part in event["parts"]:
                self._add(part["type"], part.get("text", "") + part.get("arguments", ""))
        elif "delta" in event or "arguments_delta" in event:
            self._add(event["type"], event.get("delta", "") + event.get("arguments_delta", ""))

    def _add(self, kind: str, text: str) -> None:
        self.said[kind] = self.said.get(kind, "") + text


def rest_after(offset: int) -> dict[str, str]:
    joined: dict[str, bytes] = {}
    for kind, value in UNITS[offset:]:
        joined[kind] = joined.get(kind, b"") + value
    return {kind: value.decode() for kind, value in joined.items() if value}


def due(expected: Expected) -> Verdict:
    if expected == "refused":
        return Verdict(400)
    if isinstance(expected, str):
        return Verdict(200, [expected], rest_after(0))
    return Verdict(200, [], rest_after(expected))


# Ways in which a cursor is judged: what happens to the stream before the connection comes.


async def written(log: RedisStore) -> str:
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, FIRST, safe=KEPT)
    # From itself: were the lease to end, the broker's own worker could come first.
    assert isinstance(await claim(log, stream_id, 2, mode="continue", holder=nonce(1)), Claimed)
    for event, tail in zip(SECOND, (4, 7, 16, 19, 29), strict=True):
        await append(log, stream_id, [event], number=2, tail=tail)
    return stream_id


async def end(log: RedisStore, stream_id: str) -> None:
    await append(log, stream_id, [events.done("stop")], number=2, tail=TAIL)


async def leave(_: RedisStore, __: str) -> None:
    return None


async def fold(log: RedisStore, stream_id: str) -> None:
    (reply,) = await log.compact([Compact(stream_id, nonce(2))])
    assert isinstance(reply, Compacted), reply


async def end_and_fold(log: RedisStore, stream_id: str) -> None:
    await end(log, stream_id)
    (reply,) = await log.compact([Compact(stream_id)])
    assert isinstance(reply, Compacted), reply


@dataclass(frozen=True)
class Way:
    """`prepare` changes the stream; `follows_s` is how long another reader has been there, None for nobody."""

    prepare: Callable[[RedisStore, str], Awaitable[None]] = leave
    follows_s: float | None = None
    is_over: bool = False


WAYS = {
    "entries": Way(),
    "blocks": Way(fold),
    "feed": Way(follows_s=0.0),
    "feed without recent news": Way(follows_s=1.2),
    "feed over blocks": Way(fold, follows_s=0.0),
    "finished entries": Way(end, is_over=True),
    "finished blocks": Way(end_and_fold, is_over=True),
}


@pytest.mark.parametrize("way", WAYS)
async def test_every_way_to_judge_an_odd_cursor_gives_the_same_verdict(
    broker: Stack, log: RedisStore, way: str
) -> None:
    """Entries, blocks, feeds, live and over; to the transport and through ASGI; both wires; header and query."""
    gate = asyncio.Semaphore(10)
    found: dict[str, list[Verdict]] = {}

    async def judge(cursor: str) -> None:
        async with gate:
            found[cursor] = await verdicts(broker, log, WAYS[way], cursor)

    await asyncio.gather(*map(judge, CURSORS))
    wrong = {
        (cursor, place): verdict
        for cursor, told in found.items()
        for place, verdict in enumerate(told)
        if verdict != due(CURSORS[cursor])
    }
    assert not wrong


async def verdicts(broker: Stack, log: RedisStore, way: Way, cursor: str) -> list[Verdict]:
    """What each kind of connection is told at this cursor of a stream of its own."""
    stream_id = await written(log)
    await way.prepare(log, stream_id)
    path, named = f"/v1/streams/{stream_id}/events", {"last-event-id": cursor}
    asked = f"{path}?after={quote(cursor)}"
    plain_wire = SSE if list(CURSORS).index(cursor) % 2 else NDJSON
    connections = [
        (broker.ports[0], path, named | {"accept": SSE}),
        (broker.ports[1], asked, {"accept": NDJSON}),
        (broker.plain.port, path, named | {"accept": plain_wire}),
    ]
    async with AsyncExitStack() as stack:
        if way.follows_s is not None:
            for port, _, _ in connections:
                await follow_at(stack, port, path)
            await asyncio.sleep(way.follows_s)
        answers = [
            await stack.enter_async_context(opened(port, "GET", where, headers=headers))
            for port, where, headers in connections
        ]
        if not way.is_over:
            await end(log, stream_id)
        return [await verdict_of(answer) for answer in answers]


async def follow_at(stack: AsyncExitStack, port: int, path: str) -> None:
    """Another reader, who has been told everything."""
    answer = await stack.enter_async_context(opened(port, "GET", path))
    verdict = Verdict()
    async for item in answer.items():
        verdict.take(item)
        if verdict.said == rest_after(0):
            return


async def verdict_of(answer: Answer) -> Verdict:
    verdict = Verdict(answer.status)
    if answer.status != 200:
        await answer.read()
        return verdict
    async for item in answer.items():
        verdict.take(item)
    return verdict
