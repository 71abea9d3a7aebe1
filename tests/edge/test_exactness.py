"""What a reader ends up with is what the provider said: byte for byte, from every cursor, on every edge."""

import asyncio
import random
import re
from dataclasses import dataclass, field

import pytest

from tests.support.calls import ask
from tests.support.script import Script, expected
from tests.support.sse_client import NDJSON, SSE, History, SseParser, collected, follow, opened
from tests.support.stack import Stack

__all__ = ()

pytestmark = [pytest.mark.slow, pytest.mark.timeout(120)]

CHUNKS = 2_100
LIVE_RATE = 300
AT_ONCE = 100
READERS = 50
HEARTBEAT = re.compile(rb"^: hb\n", re.MULTILINE)
FRAME = re.compile(rb"data: [^\n]+\nid: ([^\n]+)\n\n")


@dataclass
class Heard:
    """One reader's raw bytes; `ids` grows while the stream is live, `more` says when."""

    raw: bytearray = field(default_factory=bytearray)
    ids: list[str] = field(default_factory=list)
    more: asyncio.Event = field(default_factory=asyncio.Event)
    is_over: bool = False
    _scanned: int = 0

    async def listen(self, port: int, stream_id: str) -> None:
        async with opened(port, "GET", f"/v1/streams/{stream_id}/events") as answer:
            async for part in answer.body():
                self.raw += part
                for match in FRAME.finditer(self.raw, self._scanned):
                    self.ids.append(match[1].decode())
                    self._scanned = match.end()
                self.more.set()
            assert answer.is_complete
        self.is_over = True
        self.more.set()

    def following(self) -> dict[str, bytes]:
        """For each event id the bytes that came after it."""
        raw = HEARTBEAT.sub(b"", bytes(self.raw))
        return {match[1].decode(): raw[match.end() :] for match in FRAME.finditer(raw)}

    def histories(self) -> dict[str, History]:
        """For each event id what a reader that stopped there holds."""
        held, history = {}, History()
        for item in SseParser().feed(bytes(self.raw)):
            history.take(item)
            if item.id is not None:
                held[item.id] = history.copy()
        return held


async def rest_of(port: int, stream_id: str, cursor: str) -> bytes:
    """The frames that follow a cursor, without the connection's opening and heartbeats."""
    path = f"/v1/streams/{stream_id}/events"
    status, raw = await collected(port, path, {"last-event-id": cursor})
    if status == 204:
        return b""
    assert status == 200
    assert raw.startswith(b"retry: ")
    return HEARTBEAT.sub(b"", raw[raw.index(b"\n") + 1 :])


def assert_joins(held: History, rest: bytes, whole: History) -> None:
    """That a reader which held this much and got this rest has the whole, whatever was merged meanwhile."""
    for item in SseParser().feed(rest):
        held.take(item)
    assert not held.resets
    assert held.spoken() == whole.spoken()
    assert held.ending == whole.ending


def assert_all_join(heard: Heard, rests: dict[str, bytes], whole: History) -> None:
    assert rests.keys() == set(heard.ids)
    following, histories = heard.following(), heard.histories()
    for cursor, rest in rests.items():
        # The same bytes need not be parsed again.
        if rest != following[cursor]:
            assert_joins(histories[cursor], rest, whole)


async def test_every_position_resumes_exactly_on_another_edge_live_and_finished(broker: Stack) -> None:
    """Every id ever sent is a cursor to exactly what follows it, on any edge, before and after the end."""
    first, other, third = broker.ports
    script = Script("every-position", chunks=CHUNKS, rate=LIVE_RATE, kinds="mixed")
    stream_id = await ask(first, script)
    heard = Heard()
    live: dict[str, bytes] = {}

    async def resume(cursor: str) -> None:
        live[cursor] = await rest_of(other, stream_id, cursor)

    async with asyncio.TaskGroup() as group:
        group.create_task(heard.listen(first, stream_id))
        started = 0
        while not heard.is_over:
            await heard.more.wait()
            heard.more.clear()
            for cursor in heard.ids[started:]:
                group.create_task(resume(cursor))
            started = len(heard.ids)

    whole = History(stream_id)
    for item in SseParser().feed(bytes(heard.raw)):
        whole.take(item)
    assert whole.spoken() == expected(script)
    assert len(heard.ids) > CHUNKS / 10, "a busy machine merges chunks, but not that many"
    assert_all_join(heard, live, whole)

    gate = asyncio.Semaphore(AT_ONCE)
    finished: dict[str, bytes] = {}

    async def resume_finished(cursor: str) -> None:
        async with gate:
            finished[cursor] = await rest_of(third, stream_id, cursor)

    await asyncio.gather(*map(resume_finished, heard.ids))
    assert_all_join(heard, finished, whole)


async def test_a_cursor_inside_an_event_gets_its_exact_rest(broker: Stack) -> None:
    """Also where no event has ever ended, at every character; inside a character there is only a reset."""
    first, other, _ = broker.ports
    script = Script("inside", chunks=30, kinds="mixed")
    stream_id = await ask(first, script)
    whole = await follow([first], stream_id)
    nonce = whole.nonces[1]
    resets = 0
    for offset in range(whole.units):
        history = History(stream_id, cursor=f"1-{offset}.{nonce}", units=offset, attempt=1)
        history.parts = prefix_of(whole, offset)
        await follow([other], stream_id, history=history)
        resets += len(history.resets)
        assert history.spoken() == whole.spoken(), offset
    assert resets == sum(len(text.encode()) - len(text) for _, text in expected(script))


def prefix_of(whole: History, units: int) -> list[dict[str, str]]:
    """The parts of a message up to a unit; a character that is cut counts as not there."""
    parts: list[dict[str, str]] = []
    for part in whole.parts:
        name = "arguments" if part["type"] == "tool_call" else "text"
        own = units - (part["type"] == "tool_call")
        if own < 0 or units == 0:
            break
        said = part[name].encode()
        parts.append(part | {name: said[:own].decode(errors="ignore")})
        units -= min(units, len(said) + (part["type"] == "tool_call"))
    return parts


async def test_fifty_readers_that_come_and_go_at_random_miss_nothing_and_get_nothing_twice(broker: Stack) -> None:
    """Any number of readers, each on any edge and either wire, at any time."""
    ports = [*broker.ports, broker.plain.port]
    script = Script("fifty", chunks=1_200, rate=200, kinds="mixed")
    stream_id = await ask(ports[0], script)

    async def read(seed: int) -> History:
        chance = random.Random(seed)
        await asyncio.sleep(chance.uniform(0, 7))  # some come at once, some late, some after the end
        return await follow(ports, stream_id, chance=chance, wires=(SSE, NDJSON), patience=400)

    histories = await asyncio.gather(*map(read, range(READERS)))
    for seed, history in enumerate(histories):
        assert history.spoken() == expected(script), f"seed {seed}"
        assert history.ending == histories[0].ending
        assert not history.resets
    assert sum(history.connections for history in histories) > 2 * READERS
