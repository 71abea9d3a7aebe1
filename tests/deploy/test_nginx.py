"""deploy/nginx.conf, run by a real nginx in front of three small servers that are told when to send, refuse and die."""

import asyncio
import io
import json
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import aiohttp
import pytest

from shared.settings.settings import Settings
from tests.conftest import missing
from tests.deploy.small_edge import SmallEdge
from tests.support.nginx import DEPLOY, NginxMissing, NginxServer, running_nginx

__all__ = ()

pytestmark = pytest.mark.nginx

STREAM = "/v1/streams/" + "3f" * 16
EVENTS = f"{STREAM}/events"
IN_TIME_S = 5.0


@pytest.fixture
async def edges() -> AsyncIterator[list[SmallEdge]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(SmallEdge(name)) for name in ("a", "b", "c")]


@pytest.fixture
async def nginx(edges: list[SmallEdge]) -> AsyncIterator[NginxServer]:
    try:
        server = running_nginx([edge.address for edge in edges])
    except NginxMissing as reason:
        missing(str(reason))
    async with server:
        yield server


@pytest.fixture
async def behind(edges: list[SmallEdge]) -> AsyncIterator[aiohttp.ClientSession]:
    """A client of an nginx that trusts it as a proxy: it may say for whom it asks."""
    try:
        server = running_nginx([edge.address for edge in edges], trusted="127.0.0.1")
    except NginxMissing as reason:
        missing(str(reason))
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with server, aiohttp.ClientSession(server.url, connector=connector) as session:
        yield session


@pytest.fixture
async def client(nginx: NginxServer) -> AsyncIterator[aiohttp.ClientSession]:
    # Each request on its own connection, so that none waits for another.
    connector = aiohttp.TCPConnector(limit=0, force_close=True)
    async with aiohttp.ClientSession(nginx.url, connector=connector) as session:
        yield session


async def next_event(response: aiohttp.ClientResponse) -> tuple[int, str]:
    """Number and edge of the next event. Fails where it is held back: nothing follows it until the test allows it."""
    async with asyncio.timeout(IN_TIME_S):
        number = (await response.content.readline()).decode().removeprefix("id: ").strip()
        edge = (await response.content.readline()).decode().removeprefix("data: ").strip()
        assert await response.content.readline() == b"\n"
    return int(number), edge


def by_name(edges: list[SmallEdge], name: str) -> SmallEdge:
    return next(edge for edge in edges if edge.name == name)


def test_nginx_accepts_the_configuration() -> None:
    try:
        server = running_nginx(["127.0.0.1:8000", "127.0.0.1:8001"])
    except NginxMissing as reason:
        missing(str(reason))
    assert "test is successful" in server.check()
    server.close()


# Streaming


async def test_every_event_arrives_at_once(client: aiohttp.ClientSession, edges: list[SmallEdge]) -> None:
    async with client.get(EVENTS) as response:
        assert response.status == 200
        first, name = await next_event(response)
        assert first == 1
        for number in range(2, 22):
            by_name(edges, name).pace.release()
            assert await next_event(response) == (number, name)


async def test_the_head_of_a_silent_stream_arrives_at_once(
    client: aiohttp.ClientSession, edges: list[SmallEdge]
) -> None:
    for edge in edges:
        await edge.pace.acquire()  # so that no event follows
    async with asyncio.timeout(IN_TIME_S), client.get(EVENTS) as response:
        assert response.headers["Content-Type"] == "text/event-stream"


async def test_events_are_not_compressed_but_static_files_are(client: aiohttp.ClientSession) -> None:
    accept = {"Accept-Encoding": "gzip"}
    async with client.get(EVENTS, headers=accept) as response:
        assert "Content-Encoding" not in response.headers
    async with client.get("/static/page.css", headers=accept) as response:
        assert response.headers["Content-Encoding"] == "gzip"
        assert "Accept-Encoding" in response.headers["Vary"]


async def test_a_reader_that_leaves_leaves_the_edge(client: aiohttp.ClientSession, edges: list[SmallEdge]) -> None:
    async with client.get(EVENTS) as response:
        _, name = await next_event(response)
        response.close()
    async with asyncio.timeout(IN_TIME_S):
        await by_name(edges, name).left.wait()


async def test_a_websocket_passes(client: aiohttp.ClientSession) -> None:
    async with client.ws_connect(f"{STREAM}/ws", timeout=aiohttp.ClientWSTimeout(ws_close=IN_TIME_S)) as socket:
        await socket.send_str("hello")
        assert (await socket.receive_str(timeout=IN_TIME_S)).endswith(" hello")


@pytest.mark.parametrize(("path", "upgrade"), [(EVENTS, "websocket"), (f"{STREAM}/ws", "h2c"), ("/", "websocket")])
async def test_no_other_upgrade_reaches_an_edge(
    client: aiohttp.ClientSession, edges: list[SmallEdge], path: str, upgrade: str
) -> None:
    async with client.get(path, headers={"Connection": "Upgrade", "Upgrade": upgrade}) as response:
        assert response.status != 101
    (request,) = [request for edge in edges for request in edge.requests]
    assert "Upgrade" not in request.headers
    assert "Connection" not in request.headers


async def test_connections_to_the_edges_are_kept(nginx: NginxServer, edges: list[SmallEdge]) -> None:
    # One connection here too: each worker of nginx keeps its own to the edges.
    async with aiohttp.ClientSession(nginx.url, connector=aiohttp.TCPConnector(limit=1)) as client:
        for _ in range(30):
            async with client.get(STREAM) as response:
                await response.read()
    assert sum(len(edge.requests) for edge in edges) == 30
    assert sum(edge.connections for edge in edges) <= len(edges)


# Edges that die and refuse


async def test_a_reader_continues_on_another_edge(client: aiohttp.ClientSession, edges: list[SmallEdge]) -> None:
    async with client.get(EVENTS) as response:
        number, dead = await next_event(response)
        await by_name(edges, dead).kill()
        with pytest.raises(aiohttp.ClientError):
            await response.content.readline()
    for _ in range(6):
        async with client.get(EVENTS, headers={"Last-Event-ID": str(number + 40)}) as response:
            assert response.status == 200
            for edge in edges:
                edge.pace.release()
            resumed, other = await next_event(response)
        assert resumed == number + 41
        assert other != dead


async def test_the_cursor_passes_in_header_and_query(client: aiohttp.ClientSession, edges: list[SmallEdge]) -> None:
    async with client.get(f"{EVENTS}?after=1-345.9f2c01ab", headers={"Last-Event-ID": "7"}) as response:
        assert (await next_event(response))[0] == 8
    (edge,) = [edge for edge in edges if edge.requests]
    assert edge.paths == [f"GET {EVENTS}?after=1-345.9f2c01ab"]
    assert edge.sent("Last-Event-ID") == ["7"]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", EVENTS, 200), ("POST", "/v1/streams", 201)])
async def test_what_a_draining_edge_refuses_another_takes(
    client: aiohttp.ClientSession, edges: list[SmallEdge], method: str, path: str, status: int
) -> None:
    edges[0].draining = edges[1].draining = True
    for _ in range(9):
        async with client.request(method, path) as response:
            assert response.status == status
    assert edges[0].requests
    assert edges[1].requests


async def test_when_all_refuse_the_reader_hears_the_edge(client: aiohttp.ClientSession, edges: list[SmallEdge]) -> None:
    for edge in edges:
        edge.draining = True
    for _ in range(5):
        async with client.get(EVENTS) as response:
            assert response.status == 503
            assert response.headers["Retry-After"] == "7"
            assert (await response.json())["error"]["code"] == "draining"


EVENT_SOURCE = {"Accept": "text/event-stream"}


async def come_again(client: aiohttp.ClientSession) -> None:
    """That an EventSource is told when to come again, in the only way that it does not take for the end."""
    async with client.get(EVENTS, headers=EVENT_SOURCE) as response:
        assert response.status == 200
        assert response.content_type == "text/event-stream"
        assert "no-transform" in response.headers["Cache-Control"]
        assert re.fullmatch(r"retry: [1-4]000\n: come again\n", await response.text())


@pytest.mark.parametrize("are_dead", [False, True], ids=["refusing", "dead"])
async def test_an_event_source_is_never_answered_with_a_passing_status(
    client: aiohttp.ClientSession, edges: list[SmallEdge], are_dead: bool
) -> None:
    """Whoever asks for the status gets it: by the query, by a header, by another Accept."""
    for edge in edges:
        edge.draining = True
        if are_dead:
            await edge.kill()
    for _ in range(5):
        await come_again(client)
    asked: list[tuple[str, dict[str, str]]] = [
        ("?wait=0", EVENT_SOURCE),
        ("?after=1-5&wait=0", EVENT_SOURCE),
        ("", EVENT_SOURCE | {"Prefer": "wait=0"}),
        ("", {"Accept": "application/x-ndjson"}),
        ("", {}),
    ]
    for query, headers in asked:
        async with client.get(EVENTS + query, headers=headers) as response:
            assert response.status == 503
            assert (await response.json())["error"]["code"] == ("no_edge" if are_dead else "draining")


async def test_an_edge_is_asked_for_the_status_so_that_another_one_can_take_the_reader(
    client: aiohttp.ClientSession, edges: list[SmallEdge]
) -> None:
    edges[0].draining = edges[1].draining = True
    for number in range(1, 7):
        async with client.get(EVENTS, headers=EVENT_SOURCE) as response:
            assert response.status == 200
            assert "Content-Length" not in response.headers, "nginx' own words"
            assert len(edges[2].requests) == number
    assert {header for edge in edges for header in edge.sent("Prefer")} == {"wait=0"}
    async with client.get(STREAM, headers={"Prefer": "respond-async"}) as response:
        assert response.status == 200
    assert "respond-async" in {header for edge in edges for header in edge.sent("Prefer")}


async def test_refusals_take_no_edge_from_other_requests(client: aiohttp.ClientSession, edges: list[SmallEdge]) -> None:
    for edge in edges:
        edge.draining = True
    for _ in range(10):
        async with client.post("/v1/streams") as response:
            assert response.status == 503
        async with client.get(STREAM) as response:
            assert response.status == 200
    for edge in edges:
        edge.draining = False
    async with client.post("/v1/streams") as response:
        assert response.status == 201


async def test_without_any_edge_the_answer_is_an_error_like_others(
    client: aiohttp.ClientSession, edges: list[SmallEdge]
) -> None:
    for edge in edges:
        await edge.kill()
    for path in (EVENTS, STREAM, "/"):
        async with client.get(path) as response:
            assert response.status == 503
            assert response.headers["Retry-After"] == "1"
            assert (await response.json())["error"]["code"] == "no_edge"


async def test_a_create_is_repeated_with_the_same_key(client: aiohttp.ClientSession, edges: list[SmallEdge]) -> None:
    edges[0].dies_in_create = edges[1].dies_in_create = True
    for _ in range(3):
        async with client.post("/v1/streams", json={"model": "smollm2"}) as response:
            assert response.status == 201
            assert (await response.json())["edge"] == "c"
    keys = edges[2].sent("Idempotency-Key")
    assert len(set(keys)) == 3
    assert all(key and re.fullmatch("[0-9a-f]{32}", key) for key in keys)
    repeated = edges[0].sent("Idempotency-Key") + edges[1].sent("Idempotency-Key")
    assert repeated
    assert set(repeated) <= set(keys)


async def test_a_clients_own_key_stays(client: aiohttp.ClientSession, edges: list[SmallEdge]) -> None:
    async with client.post("/v1/streams", headers={"Idempotency-Key": "mine"}) as response:
        assert response.status == 201
    async with client.post(f"{STREAM}/cancel") as response:
        assert response.status == 200
    keys = [key for edge in edges for key in edge.sent("Idempotency-Key")]
    assert sorted(keys, key=str) == [None, "mine"]


async def test_other_posts_are_not_repeated(client: aiohttp.ClientSession, edges: list[SmallEdge]) -> None:
    for edge in edges:
        edge.dies_in_create = True
    async with client.post("/v1/anything") as response:
        assert response.status == 503
    assert sum(len(edge.requests) for edge in edges) == 1


# Bounds


async def test_a_large_body_is_refused_before_an_edge_sees_it(
    client: aiohttp.ClientSession, edges: list[SmallEdge]
) -> None:
    limit = Settings.model_fields["max_body_bytes"].default
    async with client.post("/v1/streams", data=io.BytesIO(b"x" * limit)) as response:
        assert response.status == 201
    seen = sum(len(edge.requests) for edge in edges)
    async with client.post("/v1/streams", data=io.BytesIO(b"x" * (limit + 1))) as response:
        assert response.status == 413
        assert (await response.json())["error"]["code"] == "body_too_large"
    assert sum(len(edge.requests) for edge in edges) == seen == 1


@pytest.mark.parametrize("length", [20_000, 65_536])
async def test_a_huge_cursor_is_a_bad_request(client: aiohttp.ClientSession, length: int) -> None:
    async with client.get(EVENTS, headers={"Last-Event-ID": "9" * length}) as response:
        assert response.status == 400
        assert (await response.json())["error"]["code"] == "invalid_request"


NETWORKS = [
    ("203.0.113.7", "203.0.113.7", "203.0.113.8"),
    ("2001:db8:0:a::1", "2001:db8:0:a:ffff::9", "2001:db8:0:b::1"),
    ("2001:db8:a0a:a0a::1", "2001:db8:a0a:a0a::2", "2001:db8:a0a:a0b::1"),  # bytes that are line ends
]


@pytest.mark.parametrize(("first", "same", "other"), NETWORKS)
async def test_one_client_cannot_take_all_connections(
    behind: aiohttp.ClientSession, edges: list[SmallEdge], first: str, same: str, other: str
) -> None:
    """Of IPv6 everybody has 2^64 addresses."""
    limit = int(configured(r"limit_conn per_client (\d+);"))
    for edge in edges:
        edge.pace = asyncio.Semaphore(limit)
    async with AsyncExitStack() as stack:

        async def open_stream(address: str) -> aiohttp.ClientResponse:
            headers = {"X-Forwarded-For": address}
            return await stack.enter_async_context(behind.get(EVENTS, headers=headers))

        taken = [await open_stream(first) for _ in range(limit)]
        assert {response.status for response in taken} == {200}
        refused = await open_stream(same)
        assert refused.status == 429
        assert refused.headers["Retry-After"] == "5"
        assert (await refused.json())["error"]["code"] == "too_many_connections"
        headers = {"X-Forwarded-For": first} | EVENT_SOURCE
        patient = await stack.enter_async_context(behind.get(EVENTS, headers=headers))
        assert patient.status == 200
        assert (await patient.text()).startswith("retry: ")
        assert (await open_stream(other)).status == 200


@pytest.mark.parametrize(("first", "same", "other"), NETWORKS)
async def test_one_client_cannot_create_without_end(
    behind: aiohttp.ClientSession, edges: list[SmallEdge], first: str, same: str, other: str
) -> None:
    burst = int(configured(r"limit_req zone=creates burst=(\d+) nodelay;"))

    async def create(address: str) -> tuple[int, str]:
        async with behind.post("/v1/streams", headers={"X-Forwarded-For": address}) as response:
            return response.status, (await response.json()).get("error", {}).get("code", "")

    answers = await asyncio.gather(*(create(address) for address in [first, same] * burst))
    assert set(answers) == {(201, ""), (429, "rate_limited")}
    assert answers.count((201, "")) < 2 * burst
    assert await create(other) == (201, "")
    headers = {"X-Forwarded-For": first}
    async with behind.post("/v1/streams", headers=headers) as response:
        assert response.status in {201, 429}
        assert response.status == 201 or response.headers["Retry-After"] == "1"
    for method, path in (("GET", "/v1/streams"), ("POST", f"{STREAM}/cancel")):
        async with behind.request(method, path, headers=headers) as response:
            assert response.status == 200


async def test_nobody_is_trusted_unless_named(client: aiohttp.ClientSession, edges: list[SmallEdge]) -> None:
    async with client.get(STREAM, headers={"X-Forwarded-For": "198.51.100.1"}) as response:
        assert response.status == 200
    (edge,) = [edge for edge in edges if edge.requests]
    assert edge.sent("X-Forwarded-For") == ["127.0.0.1"]


async def test_it_listens_on_ipv6_too(nginx: NginxServer) -> None:
    try:
        async with aiohttp.ClientSession() as client, client.get(f"http://[::1]:{nginx.port}{STREAM}") as response:
            assert response.status == 200
    except aiohttp.ClientConnectorError:
        if nginx.has_ipv6:
            raise
        missing("no IPv6 on this machine")


NO_REQUESTS = [
    b"CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n",
    b"CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
    b"PRI * HTTP/2.0\r\n\r\n",
    b"TRACE / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\x16\x03\x01\0\xa5\1",
    b"GET / HTTP/3.0\r\nHost: x\r\n\r\n",
    b"GET  HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET /../ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
]


@pytest.mark.parametrize("raw", NO_REQUESTS)
async def test_what_is_no_request_is_a_bad_one(nginx: NginxServer, edges: list[SmallEdge], raw: bytes) -> None:
    """A TLS handshake, a bare HTTP/2 preface, CONNECT: nginx answered 500, in HTML."""
    reader, writer = await asyncio.open_connection("127.0.0.1", nginx.port)
    writer.write(raw)
    async with asyncio.timeout(IN_TIME_S):
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    assert head.split(b"\r\n")[0] == b"HTTP/1.1 400 Bad Request"
    assert b"X-Content-Type-Options: nosniff" in head
    assert json.loads(body)["error"]["code"] == "invalid_request"
    assert not any(edge.requests for edge in edges)
    writer.transport.abort()


async def test_its_own_places_cannot_be_asked_for(client: aiohttp.ClientSession, edges: list[SmallEdge]) -> None:
    for path in ("/.bad_request", "/.not_found"):
        async with client.get(path) as response:
            assert response.status == 404
            assert (await response.json())["error"]["code"] == "not_found"


async def test_an_edge_hears_one_address_the_real_one(behind: aiohttp.ClientSession, edges: list[SmallEdge]) -> None:
    async with behind.get(STREAM, headers={"X-Forwarded-For": "198.51.100.1, 203.0.113.7"}) as response:
        assert response.status == 200
    (edge,) = [edge for edge in edges if edge.requests]
    # The last that a trusted proxy added; what stands before it anybody may have written.
    assert edge.sent("X-Forwarded-For") == ["203.0.113.7"]


@pytest.mark.slow
async def test_unfinished_requests_are_cut_off(nginx: NginxServer, edges: list[SmallEdge]) -> None:
    header = b"GET / HTTP/1.1\r\nHost: x\r\nX-A: b"
    body = b"POST /v1/streams HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{"
    async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
        for unfinished in (header, body):
            tasks.create_task(is_cut_off(nginx.port, unfinished))
    assert not any(edge.requests for edge in edges)


async def is_cut_off(port: int, unfinished: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(unfinished)
        with pytest.raises(ConnectionResetError):
            await reader.read()
    finally:
        writer.transport.abort()


async def test_metrics_stay_inside(client: aiohttp.ClientSession, edges: list[SmallEdge]) -> None:
    async with client.get("/metrics") as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "not_found"
    assert not any(edge.requests for edge in edges)


# What is written down


async def test_no_query_reaches_a_log(
    client: aiohttp.ClientSession, nginx: NginxServer, edges: list[SmallEdge]
) -> None:
    headers = {"Referer": "http://other.example/?ticket=canary"}
    async with client.get(f"{EVENTS}?after=canary", headers=headers) as response:
        _, dead = await next_event(response)
        await by_name(edges, dead).kill()
        with pytest.raises(aiohttp.ClientError):
            await response.read()
    for edge in edges:
        await edge.kill()
    for path in (EVENTS, "/", "/metrics", "/%22%0a"):
        async with client.get(f"{path}?ticket=canary", headers=headers):
            pass
    async with client.get(f"{EVENTS}?ticket=canary", headers={"Last-Event-ID": "9" * 40_000}):
        pass
    await asyncio.to_thread(nginx.stop)
    assert "canary" not in nginx.raw_access_log
    assert "canary" not in nginx.error_log
    assert [entry["path"] for entry in nginx.access_log][:2] == [EVENTS, EVENTS]
    assert nginx.access_log[1]["edge_status"].startswith("502")


def configured(pattern: str) -> str:
    found = re.search(pattern, (DEPLOY / "nginx.conf").read_text())
    assert found is not None, pattern
    return found[1]


def test_patience_with_an_edge_is_longer_than_three_heartbeats() -> None:
    assert int(configured(r"proxy_read_timeout (\d+)s;")) > 3 * Settings.model_fields["edge_heartbeat_s"].default


def test_errors_made_by_nginx_have_the_documented_shape() -> None:
    bodies = re.findall(r"return \d+ '(.*)';", (DEPLOY / "nginx.conf").read_text())
    assert len(bodies) == 7
    documentation = (DEPLOY.parent / "docs/deploy.md").read_text()
    for body in bodies:
        error = json.loads(body)["error"]
        assert set(error) == {"code", "message", "retryable"}
        assert f"`{error['code']}`" in documentation
