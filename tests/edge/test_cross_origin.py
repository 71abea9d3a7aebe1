"""Pages of other sites that are listed may read what they are answered; no others may."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import pytest
from multidict import CIMultiDictProxy

from shared.store.redis.store import RedisStore
from tests.support.edge import EdgeProcess, running_edge
from tests.support.stack import MODEL, Stack
from tests.support.streams import begin, write

__all__ = ()

LISTED = "https://chat.example.org"
OTHERS = ("https://chat.example.org.evil.test", "http://chat.example.org", "https://chat.example.org:8443", "null")


@pytest.fixture(scope="module")
def edge(broker: Stack) -> Iterator[EdgeProcess]:
    with running_edge(**broker.settings, allowed_origins=LISTED) as running:
        yield running


@pytest.fixture
async def http(edge: EdgeProcess) -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{edge.port}") as session:
        yield session


def allowed(headers: CIMultiDictProxy[str]) -> str | None:
    assert "access-control-allow-credentials" not in headers
    return headers.get("access-control-allow-origin")


async def preflight(http: aiohttp.ClientSession, origin: str, path: str) -> tuple[int, str | None, str]:
    asked = "authorization,content-type,idempotency-key,last-event-id,x-stainless-lang"
    headers = {"origin": origin, "access-control-request-method": "POST", "access-control-request-headers": asked}
    async with http.options(path, headers=headers) as answer:
        return answer.status, allowed(answer.headers), answer.headers.get("access-control-allow-headers", "")


@pytest.mark.parametrize("path", ["/v1/streams", "/v1/streams/0/events", "/v1/chat/completions", "/v1/messages"])
async def test_a_preflight_of_a_listed_origin_allows_what_clients_send(http: aiohttp.ClientSession, path: str) -> None:
    status, origin, headers = await preflight(http, LISTED, path)
    assert (status, origin) == (200, LISTED)
    assert {"authorization", "last-event-id", "idempotency-key"} <= set(headers.replace(" ", "").lower().split(","))
    for other in OTHERS:
        status, origin, _ = await preflight(http, other, path)
        assert (status, origin) == (400, None)


async def test_answers_and_errors_are_readable_and_name_the_stream(http: aiohttp.ClientSession) -> None:
    body: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": '{"key":"cors"}'}]}
    for path in ("/v1/streams", "/v1/chat/completions", "/v1/streams/nothing", "/v1/nowhere"):
        async with http.post(path, json=body, headers={"origin": LISTED}) as answer:
            assert allowed(answer.headers) == LISTED
            assert "Origin" in answer.headers["vary"]
            exposed = answer.headers["access-control-expose-headers"]
            assert {"Location", "Retry-After", "x-tailrace-stream", "x-workflow-run-id"} <= set(exposed.split(", "))


async def test_events_are_readable_from_the_fast_path_too(http: aiohttp.ClientSession, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    await write(log, stream_id, "Hello")
    path = f"/v1/streams/{stream_id}/events"
    async with http.get(path, headers={"origin": LISTED}) as answer:
        assert allowed(answer.headers) == LISTED
        assert b"retry" in await answer.content.readline()
    for other in OTHERS:
        async with http.get(path, headers={"origin": other}) as answer:
            assert allowed(answer.headers) is None


async def test_without_a_list_nothing_is_said_of_it(broker: Stack) -> None:
    url = f"http://127.0.0.1:{broker.ports[0]}/v1/providers"
    async with aiohttp.ClientSession() as session, session.get(url, headers={"origin": LISTED}) as answer:
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
