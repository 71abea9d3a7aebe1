"""Where a reader goes on: every way to say it, and every way to say it wrong."""

import asyncio
from urllib.parse import quote

import pytest

from shared.log import events
from shared.log.events import Event
from shared.store.redis.store import RedisStore
from tests.support.calls import call
from tests.support.sse_client import NDJSON, SSE, History, Item, opened
from tests.support.stack import Stack
from tests.support.streams import append, begin, claim, create, nonce, texts, write
from tests.support.waiting import eventually

__all__ = ()

DELTAS = ("one ", "twö ", "three ")
END = sum(len(delta.encode()) for delta in DELTAS) + 1
CANARY = "the canary of another stream"


@pytest.fixture
async def finished(log: RedisStore) -> str:
    """A stream of three texts that is over."""
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, [*texts(*DELTAS), events.done("stop")])
    return stream_id


def at(offset: int, attempt: int = 1) -> str:
    return f"{attempt}-{offset}.{nonce(attempt)}"


async def read(port: int, stream_id: str, query: str = "", **headers: str) -> tuple[int, list[Item]]:
    """Status and events of one connection, read until its end."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with opened(port, "GET", f"/v1/streams/{stream_id}/events{query}", headers=named) as answer:
        if answer.status != 200:
            assert CANARY.encode() not in await answer.read()
            return answer.status, []
        items = [item async for item in answer.items() if item.data is not None]
        assert answer.is_complete
        return answer.status, items


def said(items: list[Item]) -> str:
    return "".join((item.data or {}).get("delta", "") for item in items)


async def test_without_a_cursor_a_reader_gets_a_start_and_everything(broker: Stack, finished: str) -> None:
    status, items = await read(broker.ports[0], finished)
    assert (status, said(items)) == (200, "".join(DELTAS))
    start = items[0]
    assert start.id is None
    assert (start.data or {})["type"] == "start"
    assert (start.data or {})["stream"] == finished


@pytest.mark.parametrize("query", ["last_event_id", "lastEventID", "lastEventId", "after"])
async def test_every_query_name_is_a_cursor(broker: Stack, finished: str, query: str) -> None:
    _, items = await read(broker.ports[0], finished, f"?{query}={quote(at(4))}")
    assert said(items) == "twö three "
    assert (items[0].data or {})["type"] == "text"


async def test_the_header_wins_over_the_query(broker: Stack, finished: str) -> None:
    """A browser that reconnects still asks with the query it began with."""
    _, items = await read(broker.ports[0], finished, f"?last_event_id={at(4)}&after={at(4)}", last_event_id=at(9))
    assert said(items) == "three "


async def test_an_empty_header_is_no_cursor(broker: Stack, finished: str) -> None:
    _, items = await read(broker.ports[0], finished, last_event_id="")
    assert said(items) == "".join(DELTAS)


async def test_a_cursor_without_its_nonce_is_good_enough_from_a_person(broker: Stack, finished: str) -> None:
    assert said((await read(broker.ports[0], finished, "?after=1-9"))[1]) == "three "
    assert said((await read(broker.ports[0], finished, "?after=0-0"))[1]) == "".join(DELTAS)


@pytest.mark.parametrize("cursor", [at(END), f"1-{END}", "now"])
async def test_at_the_end_of_a_finished_stream_there_is_nothing_to_come(
    broker: Stack, finished: str, cursor: str
) -> None:
    """204, which makes a browser stop asking."""
    assert await read(broker.ports[0], finished, f"?after={cursor}") == (204, [])


async def test_now_means_only_what_is_yet_to_come(broker: Stack, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    tail = await write(log, stream_id, "before ")
    async with opened(broker.ports[0], "GET", f"/v1/streams/{stream_id}/events?after=now") as answer:
        items = answer.items()
        while (await anext(items)).data is None:
            continue
        await append(log, stream_id, [*texts("after"), events.done("stop")], tail=tail)
        assert said([item async for item in items]) == "after"


HOSTILE = {
    "64 KB": "1-" + "9" * 65_536,
    "64 KB of text": "x" * 65_536,
    "a CR": "1-4\r",
    "an LF": "1-4\n",
    "NUL": "1-4\x00",
    "unicode digits": "\u0661-\u0664",
    "fullwidth digits": "\uff11-\uff14",
    "plus": "+1-+4",
    "dollar": "$",
    "minus one": "-1",
    "minus": "-",
    "greater": ">",
    "a star": "*",
    "too many digits": "1-" + "9" * 17,
    "beyond a double": f"1-{2**53}",
    "a long nonce": "1-4.0000000011",
    "a capital nonce": "1-4.0000000A",
    "a space": "1-4 ",
    "brackets": "(1-4",
    "a glob": "1-4.????????",
    "json": '{"after":1}',
    "a command": "1-4 COUNT 1 STREAMS x 0",
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_cursor_is_refused_in_the_query(broker: Stack, finished: str, name: str) -> None:
    """Anything but an event id is 400, never a 500, never anybody's bytes."""
    if len(HOSTILE[name]) > 10_000:
        assert (await read(broker.ports[0], finished, f"?after={HOSTILE[name]}"))[0] == 400
        return
    assert (await read(broker.ports[0], finished, f"?after={quote(HOSTILE[name])}"))[0] == 400


@pytest.mark.parametrize("name", [name for name in HOSTILE if name not in {"a CR", "an LF", "a space"}])
async def test_a_hostile_cursor_is_refused_in_the_header(broker: Stack, finished: str, name: str) -> None:
    assert (await read(broker.ports[0], finished, last_event_id=HOSTILE[name]))[0] == 400


async def test_a_header_that_never_ends_is_refused(broker: Stack, finished: str) -> None:
    status, _ = await read(broker.ports[0], finished, last_event_id="x" * 300_000)
    assert status == 431


@pytest.mark.parametrize("cursor", [at(END + 1), at(0, attempt=7), "1-4.ffffffff", at(5 + 1), f"7-{2**53 - 1}"])
async def test_a_cursor_that_is_not_of_this_log_is_reset(broker: Stack, finished: str, cursor: str) -> None:
    """A well-formed id of no position here gives a reset to what there is."""
    if cursor == at(6):
        cursor = at(7)  # inside the ö
    _, items = await read(broker.ports[0], finished, last_event_id=cursor)
    history = History(finished)
    for item in items:
        history.take(item)
    assert history.resets == ["log_lost"]
    assert (history.text(), (history.ending or {})["type"]) == ("".join(DELTAS), "done")


async def test_the_cursor_of_another_stream_brings_nothing_of_it(broker: Stack, log: RedisStore, finished: str) -> None:
    other = await begin(log, tenant="public", request=b"{}")
    await append(log, other, texts(CANARY))
    foreign = f"1-{len(CANARY)}.{nonce(1)}"
    _, items = await read(broker.ports[0], finished, last_event_id=foreign)
    assert CANARY not in str(items)


async def test_two_attempts_are_never_joined_without_a_reset(broker: Stack, log: RedisStore) -> None:
    """Live and on resuming, whoever holds what was thrown away is told so."""
    first, other, _ = broker.ports
    stream_id = await begin(log, tenant="public", lease_ms=-1000)
    await write(log, stream_id, "old words")
    histories = {port: History(stream_id) for port in (first, other, broker.plain.port)}
    async with asyncio.TaskGroup() as group:
        for port, history in histories.items():
            group.create_task(listen(port, stream_id, history, SSE if port == first else NDJSON))
        await eventually(lambda: all_hold(list(histories.values()), "old words"))
        await claim(log, stream_id, 2)
        await append(log, stream_id, [*texts("new"), events.done("stop")], number=2)
    for history in histories.values():
        assert history.resets == ["new_attempt"]
        assert history.text() == "new"
    _, items = await read(other, stream_id, last_event_id=at(9))
    assert [(item.data or {})["type"] for item in items] == ["reset", "done"]
    assert (items[0].data or {})["parts"] == [{"type": "text", "text": "new"}]


async def test_what_a_takeover_kept_goes_on_without_a_word(broker: Stack, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public", lease_ms=-1000)
    await append(log, stream_id, texts("kept ", "lost"), safe=5)
    keeping, losing = History(stream_id), History(stream_id)
    async with asyncio.TaskGroup() as group:
        group.create_task(listen(broker.ports[0], stream_id, losing, SSE))
        await eventually(lambda: all_hold([losing], "kept lost"))
        await claim(log, stream_id, 2, mode="continue")
        group.create_task(listen(broker.ports[1], stream_id, keeping, SSE, cursor=at(5)))
        await append(log, stream_id, [*texts("and more"), events.done("stop")], number=2, tail=5)
    assert (losing.resets, losing.text()) == (["new_attempt"], "kept and more")
    assert (keeping.resets, keeping.text()) == ([], "and more")


async def listen(port: int, stream_id: str, history: History, wire: str, *, cursor: str | None = None) -> None:
    headers = {"accept": wire}
    if cursor is not None:
        headers["last-event-id"] = history.cursor = cursor
        history.units, history.attempt = int(cursor[2 : cursor.index(".")]), 1
    async with opened(port, "GET", f"/v1/streams/{stream_id}/events", headers=headers) as answer:
        async for item in answer.items():
            history.take(item)


async def all_hold(histories: list[History], text: str) -> bool:
    return all(history.text() == text for history in histories)


async def test_a_reader_of_a_queued_stream_sees_it_from_its_start(broker: Stack, log: RedisStore) -> None:
    stream_id = await create(log, tenant="public")
    history = History(stream_id)
    async with asyncio.TaskGroup() as group:
        group.create_task(listen(broker.ports[0], stream_id, history, SSE))
        await eventually(lambda: started(history))
        await claim(log, stream_id)
        await append(log, stream_id, [*texts("a", "b"), events.done("stop")])
    assert (history.text(), history.resets) == ("ab", [])


async def started(history: History) -> bool:
    return history.starts == 1


async def test_a_long_answer_of_large_events_is_read_page_by_page(broker: Stack, log: RedisStore) -> None:
    """Pages follow the size of events: none is skipped where they change."""
    stream_id = await begin(log, tenant="public")
    deltas: list[Event] = texts(*(f"{n} " for n in range(500)), *(f"{n:030000}" for n in range(40)))
    deltas += texts(*(f" {n}" for n in range(500)))
    tail = 0
    for event in range(0, len(deltas), 20):
        part = deltas[event : event + 20]
        await append(log, stream_id, part, tail=tail)
        tail += sum(each.size for each in part)
    await append(log, stream_id, [events.done("stop")], tail=tail)
    for port, wire in ((broker.ports[0], SSE), (broker.ports[1], NDJSON), (broker.plain.port, SSE)):
        history = History(stream_id)
        await listen(port, stream_id, history, wire)
        assert history.text().encode() == b"".join(event.value for event in deltas)


async def test_an_unknown_cursor_of_an_unknown_stream_is_404_and_a_bad_one_400(broker: Stack) -> None:
    path = f"/v1/streams/{'0' * 32}/events"
    assert (await call(broker.ports[0], "GET", path, last_event_id=at(5)))[0] == 404
    assert (await call(broker.ports[0], "GET", path, last_event_id="$"))[0] == 400
