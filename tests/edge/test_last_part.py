"""The end of a stream only, and the mark that says that a reader has all there is."""

from collections.abc import AsyncIterator

import pytest

from shared.log import events
from shared.store.redis.store import RedisStore
from tests.support.calls import call
from tests.support.sse_client import NDJSON, Item, opened
from tests.support.stack import Stack
from tests.support.streams import append, begin, create, nonce, texts

__all__ = ()

DELTAS = ("one ", "twö ", "three ", "𝄞")
TEXT = "".join(DELTAS)
UNITS = len(TEXT.encode()) + 1


@pytest.fixture
async def finished(log: RedisStore) -> str:
    """A stream of texts that is over."""
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, [*texts(*DELTAS), events.done("stop")])
    return stream_id


async def read(port: int, stream_id: str, query: str, **headers: str) -> list[Item]:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with opened(port, "GET", f"/v1/streams/{stream_id}/events?{query}", headers=named) as answer:
        assert answer.status == 200
        return [item async for item in answer.items() if item.data is not None]


async def until_mark(items: AsyncIterator[Item]) -> AsyncIterator[Item]:
    """The first mark, and nothing after it."""
    async for item in items:
        if item.data is not None and item.data["type"] == "live":
            yield item
            return


def kinds(items: list[Item]) -> list[str]:
    return [item.data["type"] for item in items if item.data is not None]


def said(items: list[Item]) -> str:
    return "".join((item.data or {}).get("delta", "") for item in items)


@pytest.mark.parametrize("accept", ["text/event-stream", NDJSON])
async def test_no_more_than_the_last_units_are_told_and_what_is_left_out_is_a_gap(
    broker: Stack, finished: str, accept: str
) -> None:
    items = await read(broker.ports[0], finished, "tail=11", accept=accept)
    place = f"1-{UNITS - 11}.{nonce(1)}"
    assert kinds(items) == ["start", "gap", "text", "text", "done"]
    assert items[1] == Item(place, {"type": "gap", "from": "0-0", "to": place, "reason": "tail"})
    assert said(items) == "three 𝄞"


@pytest.mark.parametrize("units", range(1, UNITS))
async def test_the_last_part_begins_at_a_character_wherever_it_would_begin(
    broker: Stack, finished: str, units: int
) -> None:
    items = await read(broker.ports[0], finished, f"tail={units}")
    assert TEXT.endswith(said(items))
    assert units - 4 < len(said(items).encode()) + 1 <= units
    place = (items[1].data or {})["to"]
    assert place.startswith(f"1-{UNITS - 1 - len(said(items).encode())}.")


@pytest.mark.parametrize("units", [UNITS, UNITS + 1, 10**14])
async def test_a_last_part_that_is_all_of_it_has_no_gap(broker: Stack, finished: str, units: int) -> None:
    items = await read(broker.ports[0], finished, f"tail={units}")
    assert "gap" not in kinds(items)
    assert said(items) == TEXT


async def test_a_cursor_wins_over_the_last_part_as_a_browser_reconnects_with_its_query(
    broker: Stack, finished: str
) -> None:
    items = await read(broker.ports[0], finished, "tail=1", last_event_id=f"1-4.{nonce(1)}")
    assert said(items) == "".join(DELTAS[1:])
    assert kinds(items) == ["text", "text", "text", "done"]


async def test_the_last_part_of_a_live_stream_goes_on_with_the_news(broker: Stack, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, texts("past ", "and "))
    path = f"/v1/streams/{stream_id}/events?tail=4&live=mark"
    async with opened(broker.ports[0], "GET", path) as answer:
        items: list[Item] = []
        async for item in answer.items():
            if item.data is not None:
                items.append(item)
                if item.data["type"] == "live":
                    await append(log, stream_id, [*texts("news"), events.done("stop")], tail=len("past and "))
    assert kinds(items) == ["start", "gap", "text", "live", "text", "done"]
    assert said(items) == "and news"


@pytest.mark.parametrize("accept", ["text/event-stream", NDJSON])
async def test_a_mark_says_once_that_all_has_been_told(broker: Stack, log: RedisStore, accept: str) -> None:
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, texts("past"))
    place = f"1-4.{nonce(1)}"
    path = f"/v1/streams/{stream_id}/events?live=mark"
    async with opened(broker.ports[0], "GET", path, headers={"accept": accept}) as answer:
        items: list[Item] = []
        async for item in answer.items():
            if item.data is not None:
                items.append(item)
                if item.data["type"] == "live":
                    await append(log, stream_id, texts("news"), tail=4)
                elif item.data.get("delta") == "news":
                    await append(log, stream_id, [events.done("stop")], tail=8)
    assert kinds(items) == ["start", "text", "live", "text", "done"]
    assert items[2] == Item(place, {"type": "live"})


async def test_a_mark_before_any_news_is_a_cursor_for_who_wanted_only_news(broker: Stack, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, texts("past"))
    path = f"/v1/streams/{stream_id}/events?after=now&live=mark"
    async with opened(broker.ports[0], "GET", path) as answer:
        marks = [item async for item in until_mark(answer.items())]
    assert [item.id for item in marks] == [f"1-4.{nonce(1)}"]


async def test_of_a_stream_that_waits_the_mark_has_no_id_and_of_one_that_is_over_there_is_none(
    broker: Stack, log: RedisStore, finished: str
) -> None:
    queued = await create(log, tenant="public")
    async with opened(broker.ports[0], "GET", f"/v1/streams/{queued}/events?live=mark") as answer:
        marks = [item async for item in until_mark(answer.items())]
    assert [item.id for item in marks] == [None]
    assert kinds(await read(broker.ports[0], finished, "live=mark"))[-1] == "done"
    assert "live" not in kinds(await read(broker.ports[0], finished, "live=mark"))


@pytest.mark.parametrize(
    "query", ["tail=0", "tail=-1", "tail=x", "tail=", "tail=1e3", "tail=" + "9" * 40, "live=1", "live="]
)
async def test_what_is_no_number_and_no_mark_is_refused(broker: Stack, finished: str, query: str) -> None:
    status, body = await call(broker.ports[0], "GET", f"/v1/streams/{finished}/events?{query}")
    assert (status, body["error"]["code"]) == (400, "invalid_request")


@pytest.mark.parametrize("query", ["tail=3", "live=mark"])
async def test_other_wires_have_no_words_for_it(broker: Stack, finished: str, query: str) -> None:
    status, body = await call(broker.ports[0], "GET", f"/v1/streams/{finished}/events?wire=openai&{query}")
    assert (status, body["error"]["code"]) == (400, "invalid_request")


async def test_the_last_part_of_anothers_stream_is_unknown(broker: Stack, log: RedisStore) -> None:
    foreign = await begin(log, tenant="somebody")
    await append(log, foreign, texts("secret"))
    status, body = await call(broker.ports[0], "GET", f"/v1/streams/{foreign}/events?tail=3")
    assert (status, body["error"]["code"]) == (404, "unknown_stream")
