"""Several streams on one connection: each exact, and one cursor for all of them."""

import pytest

from shared.log import events
from shared.store.redis.store import RedisStore
from tests.support.calls import call
from tests.support.sse_client import NDJSON, Item, opened
from tests.support.stack import Stack
from tests.support.streams import append, begin, texts

__all__ = ()

LONG = "ä" * 15_000 + ',"event_id":"1-1.00000000"}\n'


async def finished(log: RedisStore, *deltas: str) -> str:
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, [*texts(*deltas), events.done("stop")])
    return stream_id


def said(items: list[Item], stream_id: str) -> str:
    told = [item.data for item in items if item.data is not None and item.data["stream"] == stream_id]
    return "".join(event.get("delta", "") for event in told)


@pytest.mark.parametrize("accept", ["text/event-stream", NDJSON])
async def test_each_stream_is_exact_and_every_cursor_resumes_all(broker: Stack, log: RedisStore, accept: str) -> None:
    texts_of = {await finished(log, *deltas): "".join(deltas) for deltas in (("one ", "two"), (LONG, "x"), ("three",))}
    path = f"/v1/events?streams={','.join(texts_of)}"
    async with opened(broker.ports[0], "GET", path, headers={"accept": accept}) as answer:
        assert answer.status == 200
        items = [item async for item in answer.items() if item.data is not None]
        assert answer.is_complete
    assert {stream_id: said(items, stream_id) for stream_id in texts_of} == texts_of
    for number, item in enumerate(items):
        if item.id is None:
            continue
        headers = {"accept": accept, "last-event-id": item.id}
        async with opened(broker.ports[number % 3], "GET", path, headers=headers) as answer:
            rest = [after async for after in answer.items()] if answer.status == 200 else []
        for stream_id, text in texts_of.items():
            assert said(items[: number + 1], stream_id) + said([r for r in rest if r.data], stream_id) == text
    async with opened(broker.ports[0], "GET", path, headers={"last-event-id": items[-1].id or ""}) as answer:
        assert answer.status == 204


async def test_a_stream_that_is_not_there_is_told_and_the_others_go_on(broker: Stack, log: RedisStore) -> None:
    known, unknown = await finished(log, "text"), "0" * 32
    async with opened(broker.ports[0], "GET", f"/v1/events?streams={unknown},{known}") as answer:
        items = [item async for item in answer.items() if item.data is not None]
    assert [item.data["code"] for item in items if item.data and item.data["type"] == "error"] == ["unknown_stream"]
    assert said(items, known) == "text"
    assert (await call(broker.ports[0], "GET", f"/v1/events?streams={unknown}"))[0] == 404


@pytest.mark.parametrize("cursor", ["x", "1-1", "1-1,1-1,1-1", ",x", "1-1," + "9" * 200])
async def test_a_wrong_composite_cursor_is_refused(broker: Stack, log: RedisStore, cursor: str) -> None:
    pair = f"{await finished(log, 'a')},{await finished(log, 'b')}"
    status, body = await call(broker.ports[0], "GET", f"/v1/events?streams={pair}", last_event_id=cursor)
    assert (status, body["error"]["code"]) == (400, "invalid_cursor")


@pytest.mark.parametrize("streams", ["", ",", "a,a", ",".join(map(str, range(33)))])
async def test_no_streams_or_too_many_are_refused(broker: Stack, streams: str) -> None:
    assert (await call(broker.ports[0], "GET", f"/v1/events?streams={streams}"))[0] == 400


async def test_news_of_each_arrives_and_the_connection_ends_with_the_last(broker: Stack, log: RedisStore) -> None:
    over, live = await finished(log, "over"), await begin(log, tenant="public")
    async with opened(broker.ports[0], "GET", f"/v1/events?streams={over},{live}") as answer:
        items: list[Item] = []
        async for item in answer.items():
            if item.data is None:
                continue
            items.append(item)
            if item.data["type"] == "done" and item.data["stream"] == over:
                await append(log, live, texts("news"))
            elif item.data.get("delta") == "news":
                await append(log, live, [events.done("stop")], tail=4)
        assert answer.is_complete
    assert (said(items, over), said(items, live)) == ("over", "news")
