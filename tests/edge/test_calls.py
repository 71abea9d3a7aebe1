"""Every route, every status: what the HTTP contract says of requests that are good, and of those that are not."""

import asyncio
import json
import re
from typing import Any

import pytest

from shared.store.redis.store import RedisStore
from tests.support.calls import ask, call, cancel, state
from tests.support.script import Fault, Script, expected
from tests.support.sse_client import NDJSON, SSE, History, follow, opened
from tests.support.stack import MODEL, Stack
from tests.support.streams import RETENTION, TENANT, begin, create, write
from tests.support.waiting import eventually

__all__ = ()

ID = re.compile(r"[0-9a-f]{32}")
HOLD = Fault("silence", after=5)
UNKNOWN = "0" * 32


def good(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": Script("call", chunks=3).messages()} | fields


def assert_error(status: int, body: Any, expected_status: int, code: str) -> None:
    assert (status, body["error"]["code"]) == (expected_status, code), body
    assert body["error"]["message"]
    assert isinstance(body["error"]["retryable"], bool)


# Create


async def test_a_stream_is_created_and_named(broker: Stack) -> None:
    port = broker.ports[0]
    async with opened(port, "POST", "/v1/streams", body=good(metadata={"chat": "7"})) as answer:
        created = await answer.json()
    assert answer.status == 201
    assert ID.fullmatch(created["id"])
    assert created == {
        "id": created["id"],
        "status": "queued",
        "events_url": f"/v1/streams/{created['id']}/events",
    }
    assert answer.headers["location"] == f"/v1/streams/{created['id']}"
    assert (await state(port, created["id"]))["metadata"] == {"chat": "7"}


async def test_a_pasted_body_of_the_openai_api_works(broker: Stack) -> None:
    body = good(messages=Script("pasted", chunks=3).messages(), stream=True, user="u", logprobs=False, n=1)
    body |= {"stream_options": {"include_usage": True}, "top_logprobs": None, "logit_bias": {}, "service_tier": "auto"}
    async with opened(broker.ports[0], "POST", "/v1/streams", body=body, headers={"accept": SSE}) as answer:
        assert answer.status == 200
        history = History(answer.headers["location"].rpartition("/")[2])
        async for item in answer.items():
            history.take(item)
    assert history.spoken() == expected(Script("pasted", chunks=3))


async def test_an_unknown_option_is_refused_with_its_name_and_the_setting_s(broker: Stack) -> None:
    status, answer = await call(broker.ports[0], "POST", "/v1/streams", body=good(top_a=0.2))
    assert_error(status, answer, 422, "invalid_body")
    assert answer["error"]["message"].startswith("top_a: ")
    assert "allow_options" in answer["error"]["message"]


@pytest.mark.parametrize("wire", [SSE, NDJSON])
async def test_create_and_stream_in_one_request(broker: Stack, wire: str) -> None:
    script = Script(f"one-request-{wire}", chunks=30, kinds="mixed")
    body = good(messages=script.messages())
    async with opened(broker.ports[0], "POST", "/v1/streams", body=body, headers={"accept": wire}) as answer:
        assert answer.status == 200
        assert answer.headers["content-type"].startswith(wire)
        history = History(answer.headers["location"].rpartition("/")[2])
        async for item in answer.items():
            history.take(item)
    assert answer.is_complete
    assert history.starts == 1
    assert history.spoken() == expected(script)


BAD_BODIES = {
    "not json": (b"{", 400, "invalid_request"),
    "not utf-8": (b'{"model":"\xff"}', 400, "invalid_request"),
    "a lone surrogate": (b'{"model":"\\ud800"}', 400, "invalid_request"),
    "NaN": (b'{"model":NaN}', 400, "invalid_request"),
    "depth 1000": (b'{"model":"m","messages":' + b"[" * 1000 + b"]" * 1000 + b"}", 400, "invalid_request"),
    "depth 100000": (b"[" * 100_000, 400, "invalid_request"),
    "a list": (b"[]", 422, "invalid_body"),
    "a string": (b'"x"', 422, "invalid_body"),
    "nothing": (b"{}", 422, "invalid_body"),
    "no messages": (good(messages=[]), 422, "invalid_body"),
    "messages of a wrong type": (good(messages="hi"), 422, "invalid_body"),
    "an unknown role": (good(messages=[{"role": "robot", "content": "x"}]), 422, "invalid_body"),
    "1001 messages": (good(messages=[{"role": "user", "content": "x"}] * 1001), 422, "invalid_body"),
    "no model": ({"messages": good()["messages"]}, 422, "invalid_body"),
    "a null model": (good(model=None), 422, "invalid_body"),
    "an unknown model": (good(model="gpt-none"), 404, "unknown_model"),
    "a model with NUL": (good(model="a\x00b"), 404, "unknown_model"),
    "an unknown field": (good(base_url="http://evil"), 422, "invalid_body"),
    "two answers": (good(n=2), 422, "invalid_body"),
    "logprobs": (good(logprobs=True), 422, "invalid_body"),
    "zero tokens": (good(max_tokens=0), 422, "invalid_body"),
    "hot": (good(temperature=3), 422, "invalid_body"),
    "metadata of a wrong type": (good(metadata={"a": {"b": 1}}), 422, "invalid_body"),
    "too much metadata": (good(metadata={str(n): "x" for n in range(17)}), 422, "invalid_body"),
    "no such policy": (good(on_interruption="pray"), 422, "invalid_body"),
    "10 MB": (good(messages=[{"role": "user", "content": "x" * 10_000_000}]), 413, "body_too_large"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_bad_body_is_refused_and_nothing_is_written(broker: Stack, name: str) -> None:
    """Refused with a code, before anything is written."""
    port = broker.ports[0]
    body, status, code = BAD_BODIES[name]
    _, before = await call(port, "GET", "/v1/stats")
    assert_error(*await call(port, "POST", "/v1/streams", body=body), status, code)
    _, after = await call(port, "GET", "/v1/stats")
    assert after["streams"]["created"] == before["streams"]["created"]


async def test_a_body_in_chunks_is_bounded_too(broker: Stack) -> None:
    async def parts() -> bytes:
        return b"".join(b"10000\r\n" + b"x" * 65536 + b"\r\n" for _ in range(40)) + b"0\r\n\r\n"

    raw = b"POST /v1/streams HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n" + await parts()
    assert b" 413 " in (await exchange(broker.ports[0], raw)).split(b"\r\n")[0]


async def exchange(port: int, raw: bytes, *, until: bytes = b"}}") -> bytes:
    """What comes back for these bytes, up to a mark or the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(raw)
        received = b""
        async with asyncio.timeout(15):
            while until not in received and (part := await reader.read(65536)):
                received += part
        return received
    finally:
        writer.transport.abort()


# Hosts and origins

FOREIGN = {
    "origin": ({"origin": "http://evil.test"}, 403, "origin_not_allowed"),
    "null": ({"origin": "null"}, 403, "origin_not_allowed"),
    "site": ({"sec-fetch-site": "cross-site"}, 403, "origin_not_allowed"),
    "host": ({"host": "evil.test"}, 403, "host_not_allowed"),
}
UNSAFE = [("POST", "/v1/streams"), ("POST", f"/v1/streams/{UNKNOWN}/cancel"), ("DELETE", f"/v1/streams/{UNKNOWN}")]


@pytest.mark.parametrize("name", FOREIGN)
@pytest.mark.parametrize(("method", "path"), UNSAFE)
async def test_pages_of_other_sites_change_nothing(broker: Stack, name: str, method: str, path: str) -> None:
    """As a form of any page can send it: `text/plain` asks the browser for no leave."""
    headers, status, code = FOREIGN[name]
    for port in (broker.ports[0], broker.plain.port):
        _, before = await call(port, "GET", "/v1/stats")
        sent = {"content-type": "text/plain"} | headers
        async with opened(port, method, path, body=json.dumps(good()).encode(), headers=sent) as answer:
            assert_error(answer.status, await answer.json(), status, code)
        _, after = await call(port, "GET", "/v1/stats")
        assert after["streams"]["created"] == before["streams"]["created"]


@pytest.mark.parametrize("path", ["/", "/v1/streams", f"/v1/streams/{UNKNOWN}/events", "/v1/stats", "/metrics"])
async def test_a_foreign_host_reads_nothing(broker: Stack, path: str) -> None:
    """A name that was made to lead here: the browser would show its page the answer."""
    for port in (broker.ports[0], broker.plain.port):
        async with opened(port, "GET", path, headers={"host": f"evil.test:{port}"}) as answer:
            assert_error(answer.status, await answer.json(), 403, "host_not_allowed")


@pytest.mark.parametrize("path", ["/v1/streams", f"/v1/streams/{UNKNOWN}/events"])
@pytest.mark.parametrize("hosts", [b"", b"host: localhost\r\nhost: localhost\r\n", b"host: a b\r\n"])
async def test_a_request_without_one_host_is_a_bad_one(broker: Stack, path: str, hosts: bytes) -> None:
    raw = b"GET %b HTTP/1.1\r\n%b\r\n" % (path.encode(), hosts)
    answer = await exchange(broker.ports[0], raw)
    assert b" 400 " in answer.split(b"\r\n")[0]
    assert b'"invalid_request"' in answer


async def test_what_curl_and_the_own_page_send_is_taken(broker: Stack) -> None:
    port = broker.ports[0]
    for headers in (
        {"content-type": "application/x-www-form-urlencoded"},  # curl -d
        {"origin": f"http://127.0.0.1:{port}", "sec-fetch-site": "same-origin", "host": f"127.0.0.1:{port}"},
    ):
        body = json.dumps(good()).encode()
        async with opened(port, "POST", "/v1/streams", body=body, headers=headers) as answer:
            assert answer.status == 201


# Idempotency


async def test_an_idempotency_key_leads_to_one_stream(broker: Stack) -> None:
    """The same key and body, the same stream, on any edge, also at the same time."""
    body = json.dumps(good()).encode()
    answers = await asyncio.gather(
        *(call(port, "POST", "/v1/streams", body=body, idempotency_key="k-1") for port in broker.ports * 4)
    )
    assert sorted(status for status, _ in answers) == [200] * 11 + [201]
    assert len({created["id"] for _, created in answers}) == 1


async def test_an_idempotency_key_with_another_body_is_a_conflict(broker: Stack) -> None:
    first, other, _ = broker.ports
    assert (await call(first, "POST", "/v1/streams", body=good(), idempotency_key="k-2"))[0] == 201
    refused = await call(other, "POST", "/v1/streams", body=good(temperature=1), idempotency_key="k-2")
    assert_error(*refused, 409, "idempotency_conflict")


async def test_an_idempotency_key_of_a_deleted_stream_is_gone(broker: Stack) -> None:
    port = broker.ports[0]
    _, created = await call(port, "POST", "/v1/streams", body=good(), idempotency_key="k-3")
    assert (await call(port, "DELETE", f"/v1/streams/{created['id']}"))[0] == 204
    assert_error(*await call(port, "POST", "/v1/streams", body=good(), idempotency_key="k-3"), 410, "stream_expired")


async def test_create_and_stream_again_is_the_same_stream_from_its_start(broker: Stack) -> None:
    script = Script("again", chunks=20)
    body, headers = json.dumps(good(messages=script.messages())).encode(), {"accept": SSE, "idempotency-key": "k-4"}
    ids = []
    for port in broker.ports[:2]:
        async with opened(port, "POST", "/v1/streams", body=body, headers=headers) as answer:
            history = History(answer.headers["location"].rpartition("/")[2])
            async for item in answer.items():
                history.take(item)
        ids.append(history.stream_id)
        assert history.spoken() == expected(script)
    assert ids[0] == ids[1]


@pytest.mark.parametrize("key", ["", "x" * 256, "sp\xe4t", "a\tb"])
async def test_a_strange_idempotency_key_is_refused(broker: Stack, key: str) -> None:
    status, body = await call(broker.ports[0], "POST", "/v1/streams", body=good(), idempotency_key=key)
    assert_error(status, body, 400, "invalid_request")


# Looking at a stream


async def test_the_state_of_a_finished_stream(broker: Stack) -> None:
    first, other, _ = broker.ports
    script = Script("state", chunks=30, kinds="mixed")
    stream_id = await ask(first, script)
    history = await follow([first], stream_id)
    found = await state(other, stream_id)
    assert (found["status"], found["finish_reason"], found["error"]) == ("done", "tool_calls", None)
    assert (found["model"], found["provider"], found["attempt"]) == (MODEL, "scripted", 1)
    assert found["content"] == history.parts
    assert found["position"] == history.cursor
    times = [found[f"{name}_ms"] for name in ("created", "started", "first", "finished", "expires")]
    assert times == sorted(times)
    assert found["usage"]["total_tokens"] > 0


async def test_the_state_of_a_queued_stream(broker: Stack, log: RedisStore) -> None:
    found = await state(broker.ports[0], await create(log, tenant="public"))
    assert (found["status"], found["position"], found["content"], found["started_ms"]) == ("queued", None, [], None)


@pytest.mark.parametrize("stream_id", [UNKNOWN, "short", UNKNOWN + "0", UNKNOWN.replace("0", "A"), "%00", "..%2f"])
async def test_an_unknown_stream_is_404_on_every_route(broker: Stack, stream_id: str) -> None:
    for method, path in [route async for route in stream_routes(broker.ports[0])]:
        status, body = await call(broker.ports[0], method, path.format(stream_id=stream_id))
        assert status == 404, (method, path)
        assert body["error"]["code"] in {"unknown_stream", "not_found"}


async def test_a_foreign_stream_is_an_unknown_stream_on_every_route(broker: Stack, log: RedisStore) -> None:
    """Whoever asks for somebody else's stream learns nothing, not even that there is one."""
    port = broker.ports[0]
    foreign = await begin(log, tenant=TENANT)
    await write(log, foreign, "the canary sings")
    routes = [route async for route in stream_routes(port)]
    assert len(routes) >= 4
    for method, path in routes:
        _, unknown = await call(port, method, path.format(stream_id=UNKNOWN))
        async with opened(port, method, path.format(stream_id=foreign)) as answer:
            raw = await answer.read()
        assert answer.status == 404, (method, path)
        assert json.loads(raw) == unknown
    meta = await log.meta(foreign)
    assert meta is not None
    assert (meta.status, meta.cancelling) == ("running", False)
    _, listing = await call(port, "GET", "/v1/streams?limit=200")
    assert foreign not in {stream["id"] for stream in listing["streams"]}


async def stream_routes(port: int) -> Any:
    """Method and path of every route that names a stream, from the API's own description."""
    _, document = await call(port, "GET", "/openapi.json")
    for path, methods in document["paths"].items():
        if "{stream_id}" in path:
            for method in methods:
                yield method.upper(), path


async def test_a_foreign_tombstone_is_unknown_and_an_own_one_is_gone(broker: Stack, log: RedisStore) -> None:
    """What was there and is gone says when; to whom it belonged."""
    port = broker.ports[0]
    for tenant, status, code in (("public", 410, "stream_deleted"), (TENANT, 404, "unknown_stream")):
        stream_id = await begin(log, tenant=tenant)
        await log.delete(stream_id, RETENTION)
        status_now, body = await call(port, "GET", f"/v1/streams/{stream_id}/events")
        assert_error(status_now, body, status, code)
        assert ("gone_ms" in body["error"]) == (status == 410)


# Cancel and delete


async def test_cancelling_a_live_stream_ends_it_for_all_its_readers(broker: Stack) -> None:
    """From any edge, within a second; the text so far stays."""
    first, other, third = broker.ports
    stream_id = await ask(first, Script("cancel-live", chunks=50, fault=HOLD))
    readers = [asyncio.create_task(follow([port], stream_id)) for port in (first, third)]
    await eventually(lambda: has_text(other, stream_id))
    assert await cancel(other, stream_id) == {"id": stream_id, "status": "cancelling", "ignored": False}
    async with asyncio.timeout(2):
        histories = await asyncio.gather(*readers)
    assert [(history.ending or {})["type"] for history in histories] == ["cancelled"] * 2
    assert histories[0].text() == histories[1].text() != ""
    found = await state(first, stream_id)
    assert (found["status"], found["content"]) == ("cancelled", histories[0].parts)


async def has_text(port: int, stream_id: str) -> bool:
    return bool((await state(port, stream_id))["content"])


async def test_cancelling_a_queued_stream_ends_it_here_and_now(broker: Stack, log: RedisStore) -> None:
    stream_id = await create(log, tenant="public")
    async with asyncio.TaskGroup() as group:
        reader = group.create_task(follow(broker.ports[1:], stream_id))
        assert (await cancel(broker.ports[0], stream_id))["status"] == "cancelled"
    assert (reader.result().ending or {})["type"] == "cancelled"


async def test_cancelling_what_is_over_changes_nothing(broker: Stack) -> None:
    port = broker.ports[0]
    stream_id = await ask(port, Script("cancel-late", chunks=3))
    await follow([port], stream_id)
    assert await cancel(port, stream_id) == {"id": stream_id, "status": "done", "ignored": True}
    assert (await state(port, stream_id))["status"] == "done"


async def test_a_cancel_aimed_at_an_older_attempt_is_ignored(broker: Stack) -> None:
    port = broker.ports[0]
    stream_id = await ask(port, Script("cancel-stale", chunks=50, fault=HOLD))
    await eventually(lambda: has_text(port, stream_id))
    assert (await cancel(port, stream_id, attempt=7))["ignored"] is True
    assert (await state(port, stream_id))["status"] == "running"
    assert (await cancel(port, stream_id, attempt=1))["ignored"] is False


@pytest.mark.parametrize("body", [b"[]", {"attempt": -1}, {"attempt": "x"}, {"force": True}])
async def test_a_bad_cancel_is_refused(broker: Stack, body: Any) -> None:
    status, answer = await call(broker.ports[0], "POST", f"/v1/streams/{UNKNOWN}/cancel", body=body)
    assert_error(status, answer, 422, "invalid_body")


async def test_deleting_a_live_stream_tells_its_readers_on_every_edge(broker: Stack) -> None:
    """Readers get an error, not silence; the worker stops."""
    first, other, third = broker.ports
    stream_id = await ask(first, Script("delete-live", chunks=50, fault=HOLD))
    readers = [asyncio.create_task(follow([port], stream_id)) for port in (other, third, broker.plain.port)]
    await eventually(lambda: has_text(other, stream_id))
    assert (await call(first, "DELETE", f"/v1/streams/{stream_id}"))[0] == 204
    async with asyncio.timeout(3):
        histories = await asyncio.gather(*readers)
    assert [(history.ending or {})["code"] for history in histories] == ["stream_gone"] * 3
    for method, path in [route async for route in stream_routes(first)]:
        status, body = await call(other, method, path.format(stream_id=stream_id))
        assert_error(status, body, 410, "stream_deleted")


# Listing, figures, pages


async def test_streams_are_listed_newest_first_page_by_page(broker: Stack, log: RedisStore) -> None:
    """In the order in which they were created, whatever is read meanwhile."""
    port = broker.ports[0]
    ids = []
    for _ in range(5):
        ids.append(await create(log, tenant="public"))
        await asyncio.sleep(0.002)  # the order is by the millisecond
    found: list[str] = []
    path = "/v1/streams?status=queued&limit=2"
    while path:
        _, page = await call(port, "GET", path)
        found += [stream["id"] for stream in page["streams"]]
        assert all(stream["content"] is None for stream in page["streams"])
        path = page["next"] and f"/v1/streams?status=queued&limit=2&cursor={page['next']}"
        await state(port, ids[0])
    assert [stream_id for stream_id in found if stream_id in ids] == ids[::-1]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "limit=x", "status=lost", "cursor=1", "cursor=%00"])
async def test_a_bad_listing_is_refused(broker: Stack, query: str) -> None:
    assert_error(*await call(broker.ports[0], "GET", f"/v1/streams?{query}"), 422, "invalid_body")


async def test_providers_are_named_without_their_addresses(broker: Stack) -> None:
    async with opened(broker.ports[0], "GET", "/v1/providers") as answer:
        raw = await answer.read()
    (provider,) = json.loads(raw)["providers"]
    assert provider["name"] == "scripted"
    assert (provider["models"], provider["offers"]) == ([MODEL, f"{MODEL}-*"], [MODEL])
    assert b"http" not in raw


async def test_figures_of_the_edge(broker: Stack) -> None:
    status, body = await call(broker.ports[0], "GET", "/v1/stats")
    assert status == 200
    assert {"live", "finished", "created"} <= body["streams"].keys()
    assert {"readers", "feeds"} <= body["edge"].keys()
    async with opened(broker.ports[0], "GET", "/metrics") as answer:
        assert b"tailrace_events_delivered_total" in await answer.read()


JSON_PATHS = [
    ("GET", "/v1/streams", 200), ("GET", "/v1/stats", 200), ("GET", "/v1/providers", 200), ("GET", "/livez", 200),
    ("GET", "/readyz", 200), ("GET", "/openapi.json", 200), ("POST", "/v1/streams", 422), ("GET", "/nothing", 404),
    ("GET", f"/v1/streams/{UNKNOWN}", 404), ("GET", f"/v1/streams/{UNKNOWN}/events", 404), ("PUT", "/livez", 405),
    ("GET", "/v1/streams?limit=x", 422), ("DELETE", f"/v1/streams/{UNKNOWN}", 404), ("GET", "/v1/stats?\x01", 400),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "status"), JSON_PATHS)
async def test_json_is_kept_by_nobody_and_taken_for_nothing_else(
    broker: Stack, method: str, path: str, status: int
) -> None:
    async with opened(broker.ports[0], method, path) as answer:
        assert answer.status == status
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        await answer.read()


@pytest.mark.parametrize("length", [10, 200_000], ids=["small", "large"])
async def test_a_state_is_kept_by_nobody_either(broker: Stack, log: RedisStore, length: int) -> None:
    stream_id = await begin(log, tenant="public")
    await write(log, stream_id, *["x" * 10_000] * (length // 10_000) or ["x" * length])
    async with opened(broker.ports[0], "GET", f"/v1/streams/{stream_id}") as answer:
        assert len(await answer.read()) > length
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


async def test_pages_come_under_a_strict_policy(broker: Stack) -> None:
    for path in ("/", "/static/chat/app.js", "/docs", "/static/reference/reference.js"):
        async with opened(broker.ports[0], "GET", path) as answer:
            assert answer.status == 200
            assert "default-src 'none'" in answer.headers["content-security-policy"]
            assert answer.headers["x-content-type-options"] == "nosniff"
            await answer.read()


@pytest.mark.parametrize(
    "path", ["/static/../app.py", "/static/chat/%2e%2e/files.py", "/static/files.py", "/nothing", "/v1", "/v1/streams/"]
)
async def test_what_is_not_there_is_404_in_the_same_shape(broker: Stack, path: str) -> None:
    assert_error(*await call(broker.ports[0], "GET", path), 404, "not_found")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/"])
async def test_head_is_answered_where_machines_ask_it(broker: Stack, path: str) -> None:
    async with opened(broker.ports[0], "HEAD", path) as answer:
        assert answer.status == 200
        assert await answer.read() == b""


@pytest.mark.parametrize("method", ["HEAD", "PUT", "PATCH", "OPTIONS"])
async def test_other_methods_are_refused_with_those_that_are_not(broker: Stack, method: str) -> None:
    async with opened(broker.ports[0], method, f"/v1/streams/{UNKNOWN}/events") as answer:
        assert answer.status == 405
        assert "GET" in answer.headers["allow"]
