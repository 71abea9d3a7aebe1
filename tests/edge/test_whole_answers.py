"""Requests that do not stream: they wait for the end, whatever happens meanwhile, and get the message at once."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI
from starlette.responses import Response
from starlette.types import Message

from services.edge.api.answers.json_answer import json_answer
from services.edge.api.answers.shapes import Shapes
from services.edge.api.answers.whole_answer import WholeAnswers
from services.edge.delivery.delivery import Delivery
from services.edge.delivery.reader import Reader
from services.edge.delivery.reading import Judged
from services.edge.wires.silent import SILENT
from shared.errors import ProviderFailed
from shared.log import events
from shared.log.position import START, EventId
from shared.settings.settings import Settings
from shared.store.memory.store import MemoryStore
from shared.store.message import Assembled
from shared.store.replies import Claimed
from tests.edge.test_reader import FailingStore, running_delivery, snapshot_of
from tests.support.streams import RETENTION, append, begin, claim, nonce, texts
from tests.support.waiting import eventually

__all__ = ()


@dataclass
class Client:
    """One HTTP request without a server: what it is sent, and when it leaves."""

    messages: list[Message] = field(default_factory=list)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def receive(self) -> Message:
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        self.messages.append(message)

    @property
    def status(self) -> int | None:
        return next((each["status"] for each in self.messages if each["type"] == "http.response.start"), None)

    @property
    def body(self) -> bytes:
        return b"".join(each.get("body", b"") for each in self.messages)

    @property
    def is_complete(self) -> bool:
        return bool(self.messages) and not self.messages[-1].get(
            "more_body", self.messages[-1]["type"] != "http.response.body"
        )


def rendered(whole: Assembled) -> Response:
    if whole.meta.status == "error":
        raise ProviderFailed
    said = "".join(part["text"] for part in whole.content.parts() if part["type"] == "text")
    return json_answer({"said": said, "status": whole.meta.status})


def scope() -> dict[str, Any]:
    app = FastAPI()
    app.state.shapes = Shapes([])
    return {"type": "http", "method": "POST", "path": "/v1/x", "headers": [], "http_version": "1.1", "app": app}


@asynccontextmanager
async def asked(
    store: MemoryStore, stream_id: str, *, silent_s: float = 20.0, on_left: Callable[[], Awaitable[None]] | None = None
) -> AsyncIterator[tuple[Client, Delivery, asyncio.Task[None]]]:
    """A client that waits for the whole answer."""
    async with running_delivery(store) as delivery, asyncio.TaskGroup() as group:
        answers = WholeAnswers(store, Settings(edge_heartbeat_s=0.05))
        answers.silent_s = silent_s
        judged = Judged.of(EventId(START, None), await snapshot_of(store, stream_id))
        reader = Reader.judged(delivery.context, judged, wire=SILENT, is_fresh=True)
        answer = answers.of(reader, stream_id, rendered, headers={"x-of": stream_id}, on_left=on_left)
        client = Client()
        task = group.create_task(answer(scope(), client.receive, client.send))
        await eventually(lambda: has_readers(delivery))
        yield client, delivery, task
        await task


async def has_readers(delivery: Delivery) -> bool:
    return len(delivery.readers) == 1


async def test_nothing_is_said_until_the_end_and_then_all() -> None:
    store = MemoryStore()
    stream_id = await begin(store)
    async with asked(store, stream_id) as (client, _, _):
        await append(store, stream_id, texts("Hello", " you"))
        assert client.messages == []
        await append(store, stream_id, [events.done("stop")], tail=9)
    assert (client.status, client.body) == (200, b'{"said":"Hello you","status":"done"}')
    assert client.is_complete


async def test_a_takeover_is_not_seen() -> None:
    store = MemoryStore()
    stream_id = await begin(store)
    async with asked(store, stream_id) as (client, _, _):
        await append(store, stream_id, texts("Hel"))
        assert isinstance(await claim(store, stream_id, 2, holder=nonce(1)), Claimed)
        await append(store, stream_id, [*texts("Hello"), events.done("stop")], number=2)
    assert client.body == b'{"said":"Hello","status":"done"}'


async def test_a_failure_has_its_status_while_nothing_is_sent() -> None:
    store = MemoryStore()
    stream_id = await begin(store)
    async with asked(store, stream_id) as (client, _, _):
        await append(store, stream_id, [events.error("provider_failed", "It broke.", retryable=False)])
    assert client.status == ProviderFailed.status
    assert client.is_complete


async def test_after_a_while_blanks_keep_the_connection_open() -> None:
    store = MemoryStore()
    stream_id = await begin(store)
    async with asked(store, stream_id, silent_s=0.05) as (client, _, _):
        await eventually(lambda: has_blanks(client, 3))
        await append(store, stream_id, [*texts("Hello"), events.done("stop")])
    assert client.status == 200
    assert client.body.lstrip(b" ") == b'{"said":"Hello","status":"done"}'
    assert client.is_complete


async def has_blanks(client: Client, number: int) -> bool:
    return client.body == b" " * len(client.body) and len(client.body) >= number


async def test_a_failure_after_a_blank_is_a_cut() -> None:
    store = MemoryStore()
    stream_id = await begin(store)
    async with asked(store, stream_id, silent_s=0.05) as (client, _, _):
        await eventually(lambda: has_blanks(client, 1))
        await append(store, stream_id, [events.error("provider_failed", "It broke.", retryable=False)])
    assert not client.body.strip()
    assert not client.is_complete


async def test_a_client_that_leaves_is_waited_for_no_longer_and_can_take_the_stream_with_it() -> None:
    store = MemoryStore()
    stream_id = await begin(store)
    cancelled = asyncio.Event()

    async def cancel() -> None:
        await asyncio.sleep(0.01)
        cancelled.set()

    async with asked(store, stream_id, on_left=cancel) as (client, delivery, task):
        client.left.set()
        await task
        assert len(delivery.readers) == 0
    assert cancelled.is_set()
    assert client.messages == []


async def test_redis_may_be_away_meanwhile() -> None:
    store = FailingStore()
    stream_id = await begin(store)
    async with asked(store, stream_id) as (client, _, _):
        store.is_down = True
        await asyncio.sleep(0)
        store.is_down = False
        await append(store, stream_id, [*texts("Hello"), events.done("stop")])
    assert client.status == 200


async def test_a_stream_that_vanishes_is_gone() -> None:
    store = MemoryStore()
    stream_id = await begin(store)
    async with asked(store, stream_id) as (client, delivery, _):
        await store.delete(stream_id, RETENTION)
        delivery.hub.vanish(stream_id)
    assert client.status == 410


async def test_an_edge_that_drains_lets_it_finish_in_its_time_and_refuses_it_after() -> None:
    store = MemoryStore()
    for is_late in (False, True):
        stream_id = await begin(store)
        async with asked(store, stream_id) as (client, delivery, _), asyncio.TaskGroup() as group:
            drain = group.create_task(delivery.readers.drain(0.1 if is_late else 30.0))
            if not is_late:
                await append(store, stream_id, [*texts("Hello"), events.done("stop")])
            await drain
        assert client.status == (503 if is_late else 200)
