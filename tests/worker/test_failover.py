"""Who is asked when a provider refuses, over real sockets: one attempt with all of its requests."""

import logging
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import aiohttp
import orjson
import pytest
from prometheus_client import CollectorRegistry

from services.worker.attempts.pump import Answered, Broken, Outcome, Pump
from services.worker.providers.http.session import new_session
from services.worker.providers.provider import CompletionRequest
from services.worker.providers.registry import provider_of
from services.worker.writing.writer import Writer
from shared.errors import (
    ProviderAuth,
    ProviderError,
    ProviderFailed,
    ProviderModelMissing,
    ProviderMoved,
    ProviderPolicy,
    ProviderQuota,
    ProviderRateLimited,
    ProviderRejected,
    ProviderTooLong,
    ProviderUnreachable,
    ProviderUnsupported,
)
from shared.log.events import delta, done
from shared.settings.providers import ProviderSettings
from shared.settings.settings import Settings
from shared.telemetry.metrics import Metrics
from tests.support.answering import Answering, Reply, answering_provider, said

__all__ = ()

KEY = "sk-canary-key"
SECRET = "the prompt, which is nobody's business"
GOOD = said("Hi", " there")


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with new_session() as session:
        yield session


def refused(status: int, message: str = "", headers: dict[str, str] | None = None, **fields: Any) -> Reply:
    return Reply(status, orjson.dumps({"error": {"message": message, **fields}}), headers or {})


def writer_of() -> Writer:
    return Writer("5" * 32, attempt=1, nonce="a" * 8, tail=0, max_bytes=10**6, notify=lambda _: None)


async def pumped(
    session: aiohttp.ClientSession,
    *servers: Answering,
    options: dict[str, Any] | None = None,
    entries: list[dict[str, Any]] | None = None,
    writer: Writer | None = None,
    **settings: Any,
) -> Outcome:
    """The outcome of an attempt that may ask these servers."""
    providers = [
        provider_of(
            ProviderSettings(
                name=f"p{number}",
                base_url=server.base_url,
                models=["*"],
                api_key_env="KEY",
                **(entries[number] if entries else {}),
            ),
            session,
            environment={"KEY": KEY},
        )
        for number, server in enumerate(servers)
    ]
    pump = Pump(providers, settings=Settings(**settings), metrics=Metrics.on(CollectorRegistry()))
    request = CompletionRequest("m", [{"role": "user", "content": SECRET}], options or {})
    return await pump.run(request, writer or writer_of())


ONCE: list[tuple[Reply, type[ProviderError]]] = [
    (refused(401), ProviderAuth),
    (refused(403, "no permission"), ProviderAuth),
    (refused(400, "API key not valid."), ProviderAuth),
    (Reply(400, b'{"code":"invalid","error":"Incorrect API key provided"}'), ProviderAuth),
    (refused(402), ProviderQuota),
    (refused(429, code="insufficient_quota"), ProviderQuota),
    (refused(400, "You have reached your specified API usage limits."), ProviderQuota),
    (refused(404, code="model_not_found"), ProviderModelMissing),
    (refused(410), ProviderModelMissing),
    (refused(400, "x", code="context_length_exceeded"), ProviderTooLong),
    (refused(400, "x", code="unsupported_parameter"), ProviderUnsupported),
    (Reply(422, b'{"detail":[{"type":"extra_forbidden"}]}'), ProviderUnsupported),
    (Reply(308, headers={"Location": "http://127.0.0.1:1/"}), ProviderMoved),
    (refused(503, headers={"x-should-retry": "false"}), ProviderFailed),
]


@pytest.mark.parametrize(("reply", "kind"), ONCE)
async def test_what_the_same_provider_would_refuse_again_is_asked_once(
    session: aiohttp.ClientSession, reply: Reply, kind: type[ProviderError]
) -> None:
    async with answering_provider(reply) as server:
        outcome = await pumped(session, server)

    assert isinstance(outcome, Broken)
    assert type(outcome.error) is kind
    assert len(server.requests) == 1


@pytest.mark.parametrize(("reply", "kind"), ONCE)
async def test_the_next_provider_is_asked_at_once(
    session: aiohttp.ClientSession, reply: Reply, kind: type[ProviderError]
) -> None:
    async with answering_provider(reply) as first, answering_provider(GOOD) as second:
        started = time.monotonic()
        outcome = await pumped(session, first, second)

    assert outcome == Answered("stop"), kind
    assert time.monotonic() - started < 0.4
    assert (len(first.requests), len(second.requests)) == (1, 1)


async def test_a_provider_with_a_bad_key_is_not_asked_in_the_second_round(session: aiohttp.ClientSession) -> None:
    async with answering_provider(refused(401)) as first, answering_provider(refused(503), GOOD) as second:
        outcome = await pumped(session, first, second)

    assert outcome == Answered("stop")
    assert (len(first.requests), len(second.requests)) == (1, 2)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (refused(400, "messages: at least one"), ProviderRejected),
        (refused(400, code="content_filter"), ProviderPolicy),
        (refused(403, "Input was flagged by moderation"), ProviderPolicy),
    ],
)
async def test_what_any_provider_would_refuse_is_asked_of_nobody_else(
    session: aiohttp.ClientSession, reply: Reply, kind: type[ProviderError]
) -> None:
    async with answering_provider(reply) as first, answering_provider(GOOD) as second:
        outcome = await pumped(session, first, second)

    assert isinstance(outcome, Broken)
    assert type(outcome.error) is kind
    assert not second.requests


async def test_policy_may_be_asked_of_another(session: aiohttp.ClientSession) -> None:
    async with answering_provider(refused(400, code="content_filter")) as first, answering_provider(GOOD) as second:
        assert await pumped(session, first, second, policy_failover=True) == Answered("stop")


@pytest.mark.parametrize("word", ["tool_use_failed", "json_validate_failed"])
async def test_a_model_that_erred_is_asked_again(session: aiohttp.ClientSession, word: str) -> None:
    async with answering_provider(refused(400, "Failed to call a function.", code=word), GOOD) as server:
        assert await pumped(session, server) == Answered("stop")

    assert len(server.requests) == 2


@pytest.mark.parametrize(
    "headers", [{"Retry-After": "0"}, {"retry-after-ms": "0"}, {"retry-after-ms": "0", "Retry-After": "0"}]
)
async def test_a_pause_of_0_is_not_at_once(session: aiohttp.ClientSession, headers: dict[str, str]) -> None:
    async with answering_provider(refused(429, headers=headers)) as server:
        started = time.monotonic()
        outcome = await pumped(session, server, provider_tries=2)

    assert isinstance(outcome, Broken)
    assert time.monotonic() - started > 0.2


@pytest.mark.parametrize(
    ("reply", "least_s", "most_s"),
    [
        (refused(429, headers={"x-ms-retry-after-ms": "700"}), 0.7, 1.4),
        (refused(503, headers={"retry-after-ms": "700"}), 0.7, 1.4),
        (refused(429, details=[{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "0.7s"}]), 0.7, 1.4),
        (refused(429, "Please try again in 700ms."), 0.7, 1.4),
    ],
)
async def test_the_pause_that_is_asked_for_is_kept(
    session: aiohttp.ClientSession, reply: Reply, least_s: float, most_s: float
) -> None:
    async with answering_provider(reply, GOOD) as server:
        started = time.monotonic()
        assert await pumped(session, server) == Answered("stop")

    assert least_s <= time.monotonic() - started < most_s


async def test_a_rejection_that_says_so_is_asked_again(session: aiohttp.ClientSession) -> None:
    async with answering_provider(refused(400, headers={"x-should-retry": "true"}), GOOD) as server:
        assert await pumped(session, server) == Answered("stop")


async def test_the_most_useful_refusal_is_told(session: aiohttp.ClientSession) -> None:
    too_long = refused(400, code="context_length_exceeded")
    async with answering_provider(too_long) as first, answering_provider(refused(401)) as second:
        writer = writer_of()
        outcome = await pumped(session, first, second, writer=writer)

    assert isinstance(outcome, Broken)
    assert isinstance(outcome.error, ProviderTooLong)
    assert (outcome.provider, outcome.ruled_out) == ("p1", frozenset({"p0", "p1"}))
    writer.add([delta("text", "x")])
    append = writer.next_append()
    assert append is not None
    assert append.updates["provider"] == "p0"


async def test_the_provider_of_an_empty_answer_is_known_too(session: aiohttp.ClientSession) -> None:
    writer = writer_of()
    async with answering_provider(refused(503)) as first, answering_provider(said()) as second:
        assert await pumped(session, first, second, writer=writer) == Answered("stop")

    writer.add([done("stop")])
    append = writer.next_append()
    assert append is not None
    assert append.updates["provider"] == "p1"


async def test_of_an_error_64_kib_are_read_and_no_more(session: aiohttp.ClientSession) -> None:
    padded = orjson.dumps({"error": {"code": "insufficient_quota", "message": "x" * 30_000}})
    async with answering_provider(Reply(429, padded)) as server:
        outcome = await pumped(session, server)
        assert isinstance(outcome, Broken)
        assert isinstance(outcome.error, ProviderQuota)
    async with answering_provider(Reply(429, b"x" * 10**7), GOOD) as server:
        assert await pumped(session, server) == Answered("stop")


async def test_an_error_whose_body_never_ends_is_an_error_all_the_same(session: aiohttp.ClientSession) -> None:
    quick = {"first_token_timeout_s": 0.5}
    async with answering_provider(Reply(404, b'{"error":', stalls=True)) as server:
        started = time.monotonic()
        outcome = await pumped(session, server, entries=[quick])

    assert isinstance(outcome, Broken)
    assert isinstance(outcome.error, ProviderModelMissing)
    assert time.monotonic() - started < 3


# Options


async def test_an_option_that_an_entry_allows_is_passed_on(session: aiohttp.ClientSession) -> None:
    entries = [{"allow_options": ["top_a"], "extra_body": {"thinking": {"type": "disabled"}, "temperature": 1}}]
    async with answering_provider(GOOD) as server:
        await pumped(session, server, options={"top_a": 0.2, "temperature": 0, "user": "u1"}, entries=entries)

    (body,) = server.requests
    assert (body["top_a"], body["thinking"], body["temperature"], body["user"]) == (0.2, {"type": "disabled"}, 1, "u1")


async def test_a_provider_that_may_not_see_an_option_is_passed_over(session: aiohttp.ClientSession) -> None:
    entries: list[dict[str, Any]] = [{}, {"allow_options": "*"}]
    async with answering_provider(GOOD) as first, answering_provider(GOOD) as second:
        assert await pumped(session, first, second, options={"top_a": 1}, entries=entries) == Answered("stop")

    assert (len(first.requests), second.requests[0]["top_a"]) == (0, 1)


# What an operator gets to know


async def test_the_log_says_what_the_provider_answered_but_not_its_words(
    session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    reply = refused(400, f"no: {SECRET} {KEY}", headers={"x-request-id": "req_7"}, code="odd_code", type="odd_type")
    async with answering_provider(reply) as server:
        outcome = await pumped(session, server)

    (record,) = [record for record in caplog.records if record.message.startswith("provider failed")]
    told = {name: value for name, value in vars(record).items() if name.startswith("answer_")}
    assert told == {
        "answer_status": 400,
        "answer_code": "odd_code",
        "answer_type": "odd_type",
        "answer_path": "/v1/chat/completions",
        "answer_request_id": "req_7",
    }
    assert isinstance(outcome, Broken)
    for record in caplog.records:
        assert SECRET not in str(vars(record))
        assert KEY not in str(vars(record))


async def test_its_words_are_logged_if_the_operator_says_so_without_the_key(
    session: aiohttp.ClientSession, caplog: pytest.LogCaptureFixture
) -> None:
    async with answering_provider(refused(400, f"no: {SECRET} {KEY}")) as server:
        await pumped(session, server, log_provider_messages=True)

    (record,) = [record for record in caplog.records if record.message.startswith("provider failed")]
    words = vars(record)["answer_words"]
    assert SECRET in words
    assert KEY not in words


async def test_an_error_inside_of_an_answer_is_located_too(session: aiohttp.ClientSession) -> None:
    frame = b'data: {"error": {"code": "server_error"}}\n\n'
    headers = {"Content-Type": "text/event-stream", "x-request-id": "req_8"}
    async with answering_provider(Reply(body=frame, headers=headers)) as server:
        outcome = await pumped(session, server, provider_tries=1)

    assert isinstance(outcome, Broken)
    assert isinstance(outcome.error, ProviderFailed)
    assert outcome.error.answer is not None
    assert outcome.error.answer.facts() == {
        "status": 200,
        "code": "server_error",
        "path": "/v1/chat/completions",
        "request_id": "req_8",
    }


async def test_a_provider_that_is_not_there_is_located_too(session: aiohttp.ClientSession) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(answering_provider(GOOD))
        await stack.aclose()
        writer = writer_of()
        outcome = await pumped(session, server, provider_tries=1, writer=writer)

    assert isinstance(outcome, Broken)
    assert isinstance(outcome.error, ProviderUnreachable)
    assert outcome.error.answer is not None
    assert outcome.error.answer.facts() == {"path": "/v1/chat/completions"}


async def test_the_pause_counts_for_the_provider_that_asked_for_it(session: aiohttp.ClientSession) -> None:
    slow, busy = refused(429, headers={"retry-after-ms": "900"}), refused(503, headers={"retry-after-ms": "100"})
    async with answering_provider(slow) as first, answering_provider(busy, GOOD) as second:
        started = time.monotonic()
        assert await pumped(session, first, second) == Answered("stop")

    assert time.monotonic() - started < 0.8
    assert (len(first.requests), len(second.requests)) == (1, 2)


async def test_a_rate_limit_is_told_where_others_refused_for_good(session: aiohttp.ClientSession) -> None:
    async with answering_provider(refused(401)) as first, answering_provider(refused(429)) as second:
        outcome = await pumped(session, first, second, provider_tries=2)

    assert isinstance(outcome, Broken)
    assert isinstance(outcome.error, ProviderRateLimited)
