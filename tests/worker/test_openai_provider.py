"""The provider over real sockets: every way an answer can go, and that nothing of it leaks."""

import asyncio
import logging
import socket
import sys
import traceback
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import groupby
from typing import Any

import aiohttp
import pytest

from services.worker.providers import completion
from services.worker.providers.completion import Completion, ConfiguredProvider
from services.worker.providers.http.session import new_session
from services.worker.providers.provider import CompletionRequest, CompletionStream, Outcome, Pouring, Provider
from services.worker.providers.registry import provider_of
from shared.errors import (
    ProviderAuth,
    ProviderError,
    ProviderFailed,
    ProviderMalformed,
    ProviderModelMissing,
    ProviderMoved,
    ProviderRateLimited,
    ProviderRejected,
    ProviderStalled,
    ProviderTruncated,
    ProviderUnreachable,
)
from shared.log.events import MAX_EVENT_BYTES, Event
from shared.settings.providers import ProviderSettings
from tests.support.provider import ScriptedProvider, Seen, scripted_provider
from tests.support.script import Fault, Script, expected, expected_text
from tests.support.waiting import eventually

__all__ = ()

KEY = "sk-canary-key"
QUICK = {"connect_timeout_s": 0.3, "first_token_timeout_s": 0.3, "next_token_timeout_s": 0.3, "total_timeout_s": 5}


@pytest.fixture
async def server() -> AsyncIterator[ScriptedProvider]:
    async with scripted_provider() as provider:
        yield provider


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with new_session() as session:
        yield session


def provider_at(base_url: str, session: aiohttp.ClientSession, **values: Any) -> ConfiguredProvider:
    settings = ProviderSettings(name="scripted", base_url=base_url, models=["*"], **values)
    return provider_of(settings, session, environment={"TEST_KEY": KEY})


def stream_of(server: ScriptedProvider, session: aiohttp.ClientSession, script: Script, **values: Any) -> Completion:
    return provider_at(server.base_url, session, **values).stream(CompletionRequest("m", script.messages()))


async def read_all(stream: CompletionStream, into: list[Event], *, pours: bool = True) -> Outcome | None:
    """Everything up to the clean end; what came before a failure is in `into`."""

    def take(events: Sequence[Event]) -> bool:
        assert events
        into.extend(events)
        return True

    try:
        await stream.open()
        while (events := await stream.read()) is not None:
            take(events)
            if pours and isinstance(stream, Pouring):
                await stream.pour(take)
    finally:
        await stream.aclose()
    return stream.outcome


async def failure_of(stream: CompletionStream, into: list[Event], *, pours: bool = True) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await read_all(stream, into, pours=pours)
    return caught.value


async def has_sent(seen: Seen, chunks: int) -> None:
    async def enough() -> bool:
        return seen.chunks >= chunks

    await eventually(enough)


async def has_no_connections(server: ScriptedProvider) -> None:
    async def none() -> bool:
        return not server.connections

    await eventually(none, within_s=1)


def parts_of(events: Sequence[Event]) -> list[tuple[str, str]]:
    content = [event for event in events if event.kind != "usage"]
    return [(kind, "".join(map(text_of, group))) for kind, group in groupby(content, key=lambda event: event.kind)]


def text_of(event: Event) -> str:
    return str(event.fields()["arguments_delta"]) if event.kind == "tool_call" else event.value.decode()


def speaks(provider: ConfiguredProvider, stream: Completion) -> tuple[Provider, CompletionStream]:
    """The type checker's own test: both keep their protocols."""
    return provider, stream


@asynccontextmanager
async def listening(backlog: int = 1) -> AsyncIterator[tuple[socket.socket, str]]:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(backlog)
        yield sock, f"http://127.0.0.1:{sock.getsockname()[1]}/v1"


# Answers


@pytest.mark.parametrize("pours", [False, True])
@pytest.mark.parametrize(
    "script",
    [
        Script("plain", chunks=300),
        Script("mixed", chunks=300, kinds="mixed"),
        Script("paced", chunks=30, rate=300),
        Script("crlf", chunks=60, kinds="mixed", newline="\r\n"),
        Script("cr", chunks=60, newline="\r"),
        Script("bytes", chunks=6, kinds="mixed", split=1),
        Script("bytes-crlf", chunks=6, split=1, newline="\r\n"),
        Script("surrogates", chunks=30, surrogates=True),
        Script("megabytes", chunks=3, piece_bytes=1_000_000),
        Script("giant", chunks=1, piece_bytes=10 * 1024 * 1024),
    ],
    ids=lambda script: script.key,
)
async def test_an_answer_arrives_byte_for_byte(
    server: ScriptedProvider, session: aiohttp.ClientSession, script: Script, pours: bool
) -> None:
    events: list[Event] = []
    outcome = await read_all(stream_of(server, session, script), events, pours=pours)
    assert parts_of(events) == expected(script)
    assert all(0 < event.size <= MAX_EVENT_BYTES + 1 for event in events)
    counts = {"input_tokens": 1, "output_tokens": server.seen[0].chunks, "cached_tokens": 0}
    counts["total_tokens"] = counts["input_tokens"] + counts["output_tokens"]
    assert outcome == Outcome("tool_calls" if script.kinds == "mixed" else "stop", counts)
    assert [event.fields() for event in events if event.kind == "usage"] == [counts]
    assert events[-1].kind == "usage"


async def test_the_tool_call_is_named(server: ScriptedProvider, session: aiohttp.ClientSession) -> None:
    events: list[Event] = []
    await read_all(stream_of(server, session, Script("t", chunks=9, kinds="mixed")), events)
    opened = next(event.fields() for event in events if event.kind == "tool_call")
    assert (opened["id"], opened["name"]) == ("call_t", "search")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("done_twice", "stop"),
        ("no_done", "stop"),
        ("no_finish", "unknown"),
        ("after_finish", "length"),
        ("after_done", "stop"),
    ],
)
async def test_a_provider_that_ends_oddly_still_ends_once(
    server: ScriptedProvider, session: aiohttp.ClientSession, kind: str, reason: str
) -> None:
    script = Script("odd", chunks=30, fault=Fault(kind))
    events: list[Event] = []
    outcome = await read_all(stream_of(server, session, script), events)
    assert outcome is not None
    assert outcome.finish_reason == reason
    afterthought = "an afterthought" if kind == "after_finish" else ""
    assert parts_of(events) == [("text", expected_text(script) + afterthought)]
    assert outcome.usage is not None


async def test_an_answer_is_whole_without_its_trailer(server: ScriptedProvider, session: aiohttp.ClientSession) -> None:
    """After the finish reason a silent provider costs at most the patience for the next token."""
    script = Script("trailer", chunks=5, fault=Fault("no_trailer"))
    events: list[Event] = []
    outcome = await read_all(stream_of(server, session, script, **QUICK), events)
    assert outcome == Outcome("stop", None)
    assert parts_of(events) == expected(script)


async def test_a_provider_without_usage(server: ScriptedProvider, session: aiohttp.ClientSession) -> None:
    outcome = await read_all(stream_of(server, session, Script("u", usage=False)), [])
    assert outcome == Outcome("stop", None)
    outcome = await read_all(stream_of(server, session, Script("u"), include_usage=False), [])
    assert outcome == Outcome("stop", None)
    assert "stream_options" not in server.seen[-1].body


async def test_what_is_sent(server: ScriptedProvider, session: aiohttp.ClientSession) -> None:
    provider = provider_at(server.base_url, session, api_key_env="TEST_KEY")
    request = CompletionRequest("gpt-9", Script("s").messages(), {"temperature": 0.5, "n": 3})
    await read_all(provider.stream(request), [])
    await read_all(stream_of(server, session, Script("s")), [])
    with_key, without_key = server.seen
    assert with_key.headers["authorization"] == f"Bearer {KEY}"
    assert "authorization" not in without_key.headers
    assert with_key.headers["accept"] == "text/event-stream"
    assert (with_key.body["model"], with_key.body["temperature"], "n" in with_key.body) == ("gpt-9", 0.5, False)


async def test_connections_are_used_again(server: ScriptedProvider, session: aiohttp.ClientSession) -> None:
    for number in range(5):
        stream = stream_of(server, session, Script(f"k{number}"))
        await stream.open()
        while await stream.read() is not None:
            pass
        # The end of the response may still be on its way when the last event is read.
        await server.seen[-1].over.wait()
        await stream.aclose()
    assert server.accepted < 5


async def test_a_kept_connection_that_died_costs_nothing(session: aiohttp.ClientSession) -> None:
    answer = (
        chunked(b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n') + b"0\r\n\r\n"
    )
    served: list[int] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One answer a connection. The second request is what tells it to hang up, so the client cannot know before."""
        served.append(0)
        await request_on(reader)
        writer.write(answer)
        served[-1] += 1
        await request_on(reader)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        for _ in range(3):
            stream = provider_at(base_url, session).stream(CompletionRequest("m", []))
            assert await read_all(stream, []) == Outcome("stop", None)
        await session.close()
    assert served == [1, 1, 1]


async def test_a_new_connection_that_dies_is_not_tried_again(
    server: ScriptedProvider, session: aiohttp.ClientSession
) -> None:
    assert (
        type(await failure_of(stream_of(server, session, Script("h", fault=Fault("hangup"))), []))
        is ProviderUnreachable
    )
    assert server.requests["h"] == 1


async def test_many_streams_at_once(server: ScriptedProvider, session: aiohttp.ClientSession) -> None:
    scripts = [Script(f"s{number}", chunks=20, rate=200) for number in range(200)]
    received: list[list[Event]] = [[] for _ in scripts]
    async with asyncio.TaskGroup() as group:
        for script, events in zip(scripts, received, strict=True):
            group.create_task(read_all(stream_of(server, session, script), events))
    assert [parts_of(events) for events in received] == [expected(script) for script in scripts]


async def test_a_slow_reader_makes_the_provider_wait(server: ScriptedProvider, session: aiohttp.ClientSession) -> None:
    """What nobody reads is bounded by socket buffers, and the wait is not held against the provider."""
    script = Script("slow", chunks=600, piece_bytes=50_000)
    stream = stream_of(server, session, script, **QUICK)
    await stream.open()
    first = await stream.read()
    assert first
    # Time has to pass here: it is what the test is about.
    await asyncio.sleep(2 * QUICK["next_token_timeout_s"])
    assert server.seen[0].chunks < 600
    events = [*first]
    while (more := await stream.read()) is not None:
        events += more
    await stream.aclose()
    assert parts_of(events) == expected(script)


async def test_a_full_taker_makes_the_provider_wait(server: ScriptedProvider, session: aiohttp.ClientSession) -> None:
    script = Script("full", chunks=600, piece_bytes=50_000, rate=2000)
    stream = stream_of(server, session, script, **QUICK)
    await stream.open()
    events = [*(await stream.read() or ())]

    def take(more: Sequence[Event]) -> bool:
        events.extend(more)
        return False

    await stream.pour(take)
    # Time has to pass here: it is what the test is about.
    await asyncio.sleep(2 * QUICK["next_token_timeout_s"])
    assert server.seen[0].chunks < 600
    while (more := await stream.read()) is not None:
        events += more
        await stream.pour(take)
    await stream.aclose()
    assert parts_of(events) == expected(script)


async def test_what_a_taker_raises_comes_out(server: ScriptedProvider, session: aiohttp.ClientSession) -> None:
    """It must not, but neither may it end in aiohttp's parser and be taken for a failure of the provider."""
    stream = stream_of(server, session, Script("r", chunks=50, rate=100))
    await stream.open()
    await stream.read()

    def take(_events: Sequence[Event]) -> bool:
        raise LookupError

    with pytest.raises(LookupError):
        await stream.pour(take)
    await stream.aclose()


async def test_a_pour_that_is_cancelled_loses_nothing(server: ScriptedProvider, session: aiohttp.ClientSession) -> None:
    script = Script("c", chunks=40, rate=200)
    stream = stream_of(server, session, script)
    await stream.open()
    events = [*(await stream.read() or ())]

    def take(more: Sequence[Event]) -> bool:
        events.extend(more)
        return True

    pouring = asyncio.create_task(stream.pour(take))
    await has_sent(server.seen[0], 10)
    pouring.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pouring
    while (more := await stream.read()) is not None:
        events += more
    await stream.aclose()
    assert parts_of(events) == expected(script)


# Failures


@pytest.mark.parametrize("pours", [False, True])
@pytest.mark.parametrize(
    ("fault", "kind", "chunks"),
    [
        (Fault("hangup"), ProviderUnreachable, 0),
        (Fault("slow_header"), ProviderStalled, 0),
        (Fault("status", status=401), ProviderAuth, 0),
        (Fault("status", status=403), ProviderAuth, 0),
        (Fault("status", status=400), ProviderRejected, 0),
        (Fault("status", status=404), ProviderModelMissing, 0),
        (Fault("status", status=422), ProviderRejected, 0),
        (Fault("status", status=429), ProviderRateLimited, 0),
        (Fault("status", status=500), ProviderFailed, 0),
        (Fault("status", status=503), ProviderFailed, 0),
        (Fault("redirect"), ProviderMoved, 0),
        (Fault("html"), ProviderMalformed, 0),
        (Fault("json_error", status=429), ProviderRateLimited, 0),
        (Fault("json_error", status=500), ProviderFailed, 0),
        (Fault("silence"), ProviderStalled, 0),
        (Fault("silence", after=7), ProviderStalled, 7),
        (Fault("comments"), ProviderStalled, 0),
        (Fault("comments", after=7), ProviderStalled, 7),
        (Fault("cut"), ProviderTruncated, 0),
        (Fault("cut", after=7), ProviderTruncated, 7),
        (Fault("reset", after=7), ProviderTruncated, 7),
        (Fault("eof", after=7), ProviderTruncated, 7),
        (Fault("eof", after=0), ProviderTruncated, 0),
        (Fault("error_frame", after=7, status=429), ProviderRateLimited, 7),
        (Fault("error_frame", after=7, status=502), ProviderFailed, 7),
        (Fault("error_event", after=7), ProviderFailed, 7),
        (Fault("error_reason", after=7), ProviderFailed, 7),
        (Fault("malformed", after=7), ProviderMalformed, 7),
    ],
    ids=lambda value: f"{value.kind}-{value.after}-{value.status}" if isinstance(value, Fault) else None,
)
async def test_each_failure_is_one_error_after_all_that_came_before_it(
    server: ScriptedProvider,
    session: aiohttp.ClientSession,
    fault: Fault,
    kind: type[ProviderError],
    chunks: int,
    pours: bool,
) -> None:
    script = Script("f", chunks=20, rate=200, fault=fault)
    events: list[Event] = []
    # Only who waits for a silence is in a hurry: a machine that is held up must not look like one.
    stream = stream_of(server, session, script, **(QUICK if kind is ProviderStalled else {}))
    error = await failure_of(stream, events, pours=pours)
    assert type(error) is kind
    assert parts_of(events) == expected(Script("f", chunks=chunks))
    assert stream.has_begun is bool(chunks)
    assert stream.outcome is None


async def test_broken_chunking_is_a_failure_of_the_provider(
    server: ScriptedProvider, session: aiohttp.ClientSession
) -> None:
    events: list[Event] = []
    script = Script("b", chunks=20, rate=100, fault=Fault("bad_chunking", after=7))
    error = await failure_of(stream_of(server, session, script), events)
    assert isinstance(error, ProviderMalformed | ProviderTruncated)
    assert parts_of(events) == expected(Script("b", chunks=7))


async def test_a_fault_can_strike_only_the_first_requests(
    server: ScriptedProvider, session: aiohttp.ClientSession
) -> None:
    script = Script("t", fault=Fault("status", times=2))
    for _ in range(2):
        assert isinstance(await failure_of(stream_of(server, session, script), []), ProviderFailed)
    assert await read_all(stream_of(server, session, script), [])


@pytest.mark.parametrize(("after", "seconds"), [("3", 3.0), ("Wed, 21 Oct 2020 07:28:00 GMT", None), (None, None)])
async def test_retry_after_is_handed_on(
    server: ScriptedProvider, session: aiohttp.ClientSession, after: str | None, seconds: float | None
) -> None:
    script = Script("r", fault=Fault("status", status=429, retry_after=after))
    assert (await failure_of(stream_of(server, session, script), [])).retry_after_s == seconds


async def test_bytes_before_a_cut_are_not_lost(server: ScriptedProvider, session: aiohttp.ClientSession) -> None:
    """A reader that was busy while the connection broke finds the failure ahead of the bytes."""
    script = Script("late", chunks=50, fault=Fault("cut", after=50))
    stream = stream_of(server, session, script)
    await stream.open()
    await server.seen[-1].over.wait()
    # The reader is busy meanwhile; there is no state of ours that tells when aiohttp has noticed.
    await asyncio.sleep(0.05)
    first = await stream.read()
    assert first is not None
    assert parts_of(first) == expected(script)
    with pytest.raises(ProviderTruncated):
        await stream.read()
    await stream.aclose()


async def test_a_cut_after_the_finish_reason_is_a_clean_end(session: aiohttp.ClientSession) -> None:
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'
    async with raw_server(chunked(chunk)) as base_url:
        events: list[Event] = []
        stream = provider_at(base_url, session).stream(CompletionRequest("m", []))
        assert await read_all(stream, events) == Outcome("stop", None)
        assert parts_of(events) == [("text", "hi")]


async def test_a_drip_is_no_sign_of_life(server: ScriptedProvider, session: aiohttp.ClientSession) -> None:
    script = Script("drip", chunks=3, split=1, pause_s=0.02)
    error = await failure_of(stream_of(server, session, script, **QUICK), [])
    assert type(error) is ProviderStalled


async def test_an_endless_answer_ends_at_its_deadline(server: ScriptedProvider, session: aiohttp.ClientSession) -> None:
    script = Script("endless", rate=50, fault=Fault("endless"))
    stream = stream_of(server, session, script, **{**QUICK, "total_timeout_s": 0.6})
    events: list[Event] = []
    error = await failure_of(stream, events)
    assert type(error) is ProviderStalled
    assert error.message != ProviderStalled.text
    assert 10 < len(events) < 40
    await asyncio.wait_for(server.seen[-1].over.wait(), 1)


async def test_chatter_after_the_finish_reason_is_cut_off(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "_TRAILER_S", 0.2)
    chunk = b'data: {"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'
    chatter = b'data: {"choices":[{"index":0,"delta":{"content":""},"finish_reason":"stop"}]}\n\n'
    async with raw_server(chunked(chunk), then=chunked(chatter * 50)) as base_url:
        stream = provider_at(base_url, session).stream(CompletionRequest("m", []))
        events: list[Event] = []
        outcome = await asyncio.wait_for(read_all(stream, events), 3)
        assert outcome == Outcome("stop", None)
        assert parts_of(events) == [("text", "hi")]


async def test_what_is_not_there_is_unreachable(session: aiohttp.ClientSession) -> None:
    async with listening() as (_, base_url):
        pass
    for url in (
        base_url,
        "http://no-such-host.invalid/v1",
        f"http://{'a' * 64}.invalid/v1",
        base_url.replace("http:", "https:"),
    ):
        provider = provider_at(url, session)
        assert type(await failure_of(provider.stream(CompletionRequest("m", [])), [])) is ProviderUnreachable
        with pytest.raises(ProviderUnreachable):
            await provider.probe()


async def test_tls_to_a_plain_port_is_unreachable(server: ScriptedProvider, session: aiohttp.ClientSession) -> None:
    provider = provider_at(server.base_url.replace("http:", "https:"), session, connect_timeout_s=0.3)
    assert type(await failure_of(provider.stream(CompletionRequest("m", [])), [])) is ProviderUnreachable


async def test_a_server_that_closes_at_accept_is_unreachable(
    server: ScriptedProvider, session: aiohttp.ClientSession
) -> None:
    server.refusing = True
    assert type(await failure_of(stream_of(server, session, Script("x")), [])) is ProviderUnreachable


async def test_a_connection_that_is_never_made_is_unreachable(session: aiohttp.ClientSession) -> None:
    async with listening(backlog=0) as (sock, base_url):
        # Loopback answers the first connections from the backlog; further ones hang as behind a silent firewall.
        fillers = [socket.socket() for _ in range(3)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())
        stream = provider_at(base_url, session, connect_timeout_s=0.2).stream(CompletionRequest("m", []))
        assert type(await failure_of(stream, [])) is ProviderUnreachable
        for filler in fillers:
            filler.close()


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n", ProviderMalformed),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX: " + b"x" * 100_000, ProviderMalformed),
        (b"HTTP/1.1 200 OK\r\n\r\ndata: {}\n\n", ProviderTruncated),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\nnot json", ProviderMalformed),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n[]", ProviderMalformed),
        (b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n" + b" " * 200_000 + b"{}", ProviderMalformed),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + b"x" * (17 * 1024 * 1024), ProviderMalformed),
        (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: {}\n\n", ProviderTruncated),
        (b"HTTP/1.1 204 No Content\r\n\r\n", ProviderFailed),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", ProviderFailed),
    ],
    ids=range(10),
)
async def test_answers_of_a_stranger(session: aiohttp.ClientSession, answer: bytes, kind: type[ProviderError]) -> None:
    async with raw_server(answer) as base_url:
        stream = provider_at(base_url, session).stream(CompletionRequest("m", []))
        assert type(await failure_of(stream, [])) is kind


HEADS = [
    b"200 OK\r\nContent-Type: application/json",
    b"200 OK\r\nContent-Type: text/plain",
    b"200 OK\r\nContent-Type: text/event-stream; charset=utf-8",
    b"200 OK",
    b"201 Created\r\nContent-Type: text/event-stream",
    b"202 Accepted\r\nContent-Type: application/json",
]
HI = b'data: {"choices":[{"index":0,"delta":{"content":"hi"}}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
WHOLE = b'{"choices":[{"index":0,"message":{"content":"hi"},"finish_reason":"stop"}]}'


@pytest.mark.parametrize("pours", [False, True])
@pytest.mark.parametrize("head", HEADS, ids=range(6))
@pytest.mark.parametrize("body", [HI + END, HI + END.rstrip(), WHOLE, b"data: " + WHOLE], ids=range(4))
async def test_an_answer_is_taken_whatever_it_is_called(
    session: aiohttp.ClientSession, head: bytes, body: bytes, pours: bool
) -> None:
    answer = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
    async with raw_server(answer) as base_url:
        events: list[Event] = []
        stream = provider_at(base_url, session).stream(CompletionRequest("m", []))
        assert await read_all(stream, events, pours=pours) == Outcome("stop", None)
        assert parts_of(events) == [("text", "hi")]
        assert stream.has_begun


@pytest.mark.parametrize("head", HEADS, ids=range(6))
@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"error":{"code":429}}', ProviderRateLimited),
        (b'[{"error":{"code":429}}]', ProviderRateLimited),
        (b'{"error":"no"}', ProviderFailed),
        (b'data: {"error":{"code":429}}\n\ndata: [DONE]\n\n', ProviderRateLimited),
        (b"data: [DONE]\n\n", ProviderTruncated),
        (HI, ProviderTruncated),
    ],
    ids=range(6),
)
async def test_an_error_is_one_whatever_it_is_called(
    session: aiohttp.ClientSession, head: bytes, body: bytes, kind: type[ProviderError]
) -> None:
    answer = b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (head, len(body), body)
    async with raw_server(answer) as base_url:
        stream = provider_at(base_url, session).stream(CompletionRequest("m", []))
        assert type(await failure_of(stream, [])) is kind
        assert stream.outcome is None


async def test_a_reason_with_every_chunk_does_not_hurry_the_answer(
    session: aiohttp.ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who goes on after a finish reason has the patience that any answer has."""
    monkeypatch.setattr(completion, "_TRAILER_S", 0.2)
    chunks = [HI.replace(b'"}}', b'"},"finish_reason":"stop"}')] * 4

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await request_on(reader)
        for number, each in enumerate(chunks):
            # Time has to pass here: it is what the test is about.
            await asyncio.sleep(0.05 if number < 2 else 0.4)
            writer.write(chunked(each) if not number else b"%x\r\n%s\r\n" % (len(each), each))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        base_url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        events: list[Event] = []
        stream = provider_at(base_url, session).stream(CompletionRequest("m", []))
        assert await read_all(stream, events) == Outcome("stop", None)
        assert parts_of(events) == [("text", "hihihihi")]
        await session.close()


# Closing


@pytest.mark.parametrize("fault", [None, Fault("silence"), Fault("silence", after=5)])
async def test_closing_is_seen_by_the_provider_at_once(
    server: ScriptedProvider, session: aiohttp.ClientSession, fault: Fault | None
) -> None:
    stream = stream_of(server, session, Script("c", chunks=1000, rate=50, fault=fault))
    await stream.open()
    await stream.aclose()
    await asyncio.wait_for(server.seen[-1].over.wait(), 1)
    assert not server.seen[-1].finished
    await stream.aclose()


@pytest.mark.parametrize("fault", [Fault("slow_header"), Fault("silence"), Fault("silence", after=5)])
async def test_a_cancelled_reader_closes_the_connection(
    server: ScriptedProvider, session: aiohttp.ClientSession, fault: Fault
) -> None:
    events: list[Event] = []
    stream = stream_of(server, session, Script("c", chunks=10, fault=fault))
    reader = asyncio.create_task(read_all(stream, events))
    seen = await server.last_seen()
    await has_sent(seen, fault.after)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    await asyncio.wait_for(seen.over.wait(), 1)


@pytest.mark.parametrize("fault", [Fault("slow_header"), Fault("silence"), Fault("silence", after=5)])
async def test_another_task_may_close_while_a_reader_waits(
    server: ScriptedProvider, session: aiohttp.ClientSession, fault: Fault
) -> None:
    stream = stream_of(server, session, Script("c", chunks=10, fault=fault))
    reader = asyncio.create_task(failure_of(stream, []))
    seen = await server.last_seen()
    await has_sent(seen, fault.after)
    await stream.aclose()
    assert isinstance(await asyncio.wait_for(reader, 1), ProviderError)
    await asyncio.wait_for(seen.over.wait(), 1)


async def test_a_stream_that_was_closed_first_is_never_asked_for(
    server: ScriptedProvider, session: aiohttp.ClientSession
) -> None:
    stream = stream_of(server, session, Script("c"))
    await stream.aclose()
    with pytest.raises(ProviderTruncated):
        await stream.open()
    assert not server.seen


async def test_a_failed_stream_leaves_no_connection_behind(
    server: ScriptedProvider, session: aiohttp.ClientSession
) -> None:
    for fault in (Fault("status"), Fault("html"), Fault("silence", after=3)):
        await failure_of(stream_of(server, session, Script("c", fault=fault), **QUICK), [])
    await has_no_connections(server)


# Health


async def test_probe(server: ScriptedProvider, session: aiohttp.ClientSession) -> None:
    provider = provider_at(server.base_url, session)
    await provider.probe()
    for status, kind in ((401, ProviderAuth), (500, ProviderFailed)):
        server.models_status = status
        with pytest.raises(kind):
            await provider.probe()
    server.models_status = 404
    await provider.probe()


async def test_probe_has_a_deadline(session: aiohttp.ClientSession) -> None:
    async with listening() as (_, base_url):
        with pytest.raises(ProviderStalled):
            await provider_at(base_url, session, connect_timeout_s=0.2).probe()


@pytest.mark.parametrize("key", [None, "", "  ", "two\nlines", "schlüssel"])
async def test_a_key_that_is_missing_or_unusable(
    server: ScriptedProvider, session: aiohttp.ClientSession, key: str | None
) -> None:
    settings = ProviderSettings(name="p", base_url=server.base_url, models=["*"], api_key_env="K")
    provider = provider_of(settings, session, environment={} if key is None else {"K": key})
    with pytest.raises(ProviderAuth) as caught:
        await provider.probe()
    assert not key or key.strip() == "" or key not in str(caught.value)
    assert type(await failure_of(provider.stream(CompletionRequest("m", [])), [])) is ProviderAuth


# Secrets

CANARIES = ("canary-prompt", "canary-key", "canary-path", "canary-body")
EVERYTHING = [
    *(Fault("status", status=status) for status in (400, 401, 404, 429, 500)),
    *(Fault(kind, after=1) for kind in ("cut", "reset", "silence", "malformed", "error_frame", "error_event", "eof")),
    *(Fault(kind) for kind in ("hangup", "html", "json_error", "slow_header", "redirect", "bad_chunking")),
]


@pytest.mark.parametrize("fault", EVERYTHING, ids=lambda fault: f"{fault.kind}-{fault.status}")
async def test_no_error_tells_a_secret(
    server: ScriptedProvider, session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture, fault: Fault
) -> None:
    caplog.set_level(logging.DEBUG)
    script = Script("canary-prompt", fault=fault)
    stream = stream_of(server, session, script, api_key_env="TEST_KEY", **QUICK)
    error = await failure_of(stream, [])
    check_for_canaries(error, stream, caplog)


async def test_no_address_is_told(session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with raw_server(b"canary-body nonsense\r\n\r\n") as stranger:
        urls = (
            f"{stranger}/canary-path",
            "http://canary-path.invalid/v1",
            "http://[canary-path/v1",
            "http://a b/canary-path",
        )
        for url in urls:
            provider = provider_at(url, session, api_key_env="TEST_KEY")
            stream = provider.stream(CompletionRequest("m", [{"role": "user", "content": "canary-prompt"}]))
            check_for_canaries(await failure_of(stream, []), stream, caplog)


def check_for_canaries(error: ProviderError, stream: Completion, caplog: pytest.LogCaptureFixture) -> None:
    told = [
        str(error),
        repr(error),
        error.message,
        "".join(traceback.format_exception(error, chain=True)),
        *(record.getMessage() for record in caplog.records),
        *(record.exc_text or "" for record in caplog.records),
        repr(stream),
    ]
    assert not [canary for canary in CANARIES for text in told if canary in text]
    assert error.message in {type(error).text, ProviderStalled.text}


# The scripted provider itself


async def test_a_scripted_answer_can_be_continued(server: ScriptedProvider, session: aiohttp.ClientSession) -> None:
    script = Script("go-on", chunks=60, kinds="mixed", vary=True)
    text = expected_text(script)
    await read_all(stream_of(server, session, script), [])
    for said in (text[:1], text[:50], text[:-1], text):
        messages = [*script.messages(), {"role": "assistant", "content": said}]
        events: list[Event] = []
        await read_all(provider_at(server.base_url, session).stream(CompletionRequest("m", messages)), events)
        joined = [("text", said + dict(parts_of(events)).get("text", "")), parts_of(events)[-1]]
        assert joined == expected(script)[1:]
        assert server.seen[-1].prefix_bytes == len(said.encode())


async def test_attempts_that_vary_say_something_else(server: ScriptedProvider, session: aiohttp.ClientSession) -> None:
    script = Script("vary", vary=True)
    for attempt in range(2):
        events: list[Event] = []
        await read_all(stream_of(server, session, script), events)
        assert parts_of(events) == expected(script, attempt=attempt)
    assert expected(script, attempt=0) != expected(script, attempt=1)


async def test_a_prompt_that_is_no_script_gets_an_answer_too(
    server: ScriptedProvider, session: aiohttp.ClientSession
) -> None:
    stream = provider_at(server.base_url, session).stream(
        CompletionRequest("m", [{"role": "user", "content": "hello"}])
    )
    events: list[Event] = []
    assert await read_all(stream, events)
    assert sum(event.kind == "text" for event in events) == 20


async def test_the_provider_as_a_process_tells_what_it_saw(session: aiohttp.ClientSession) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.support.provider", "--chunks", "7"), stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        base_url = f"http://127.0.0.1:{port}/v1"
        stream = provider_at(base_url, session).stream(CompletionRequest("m", [{"role": "user", "content": "hello"}]))
        assert await read_all(stream, [])
        async with session.get(f"http://127.0.0.1:{port}/_seen") as response:
            (seen,) = await response.json()
        assert (seen["chunks"], seen["finished"], seen["number"]) == (7, True, 0)
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 5) == 0


# A server that says bytes


async def request_on(reader: asyncio.StreamReader) -> None:
    with suppress(asyncio.IncompleteReadError):
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(length)


def chunked(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + b"%x\r\n%s\r\n" % (len(body), body)


@asynccontextmanager
async def raw_server(answer: bytes, *, then: bytes = b"") -> AsyncIterator[str]:
    """Says `answer` to any request and hangs up; with `then` it goes on and on saying that, as one HTTP chunk each."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
            while then:
                writer.write(then.partition(b"\r\n\r\n")[2])
                await writer.drain()
                await asyncio.sleep(0.001)
        except ConnectionError:
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
