"""What a provider's refusal means: every row of the table, in the words of the providers that say it."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest

from services.worker.attempts.failover import Failure, GiveUp, Retry, after_failure
from services.worker.providers.complaint import complaint_in, complaint_of, plain_name
from services.worker.providers.pause import MAX_RETRY_AFTER_S, pause_in_words, retry_after_s, seconds_of, should_retry
from services.worker.providers.refusal import MAX_REFUSAL_BYTES, error_inside, located, read_refusal, refusal
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
    ProviderTruncated,
    ProviderUnsupported,
)

__all__ = ()

NOW = datetime(2026, 10, 21, 7, 28, 0, tzinfo=UTC)


def openai(message: str = "", **fields: Any) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": None, **fields}}


def google(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "status": status, "message": message, "details": list(details)}}


def anthropic(kind: str, message: str) -> dict[str, Any]:
    return {"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"}


PER_DAY = {"@type": "QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}
PER_MINUTE = {"@type": "QuotaFailure", "violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}]}
RETRY_IN = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "12s"}
QUOTA_WORDS = "You exceeded your current quota, please check your plan and billing details."

# Row of the table, status, body.
ROWS: dict[type[ProviderError], list[tuple[int, object]]] = {
    ProviderAuth: [
        (401, None),
        (401, openai("Incorrect API key provided: sk-x.", code="invalid_api_key")),
        (400, google(400, "INVALID_ARGUMENT", "API key not valid.", {"reason": "API_KEY_INVALID"})),
        (400, [google(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.")]),
        (400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***."}),
        (403, None),
        (403, anthropic("permission_error", "Your API key does not have permission.")),
        (403, google(403, "PERMISSION_DENIED", "The caller does not have permission")),
    ],
    ProviderQuota: [
        (402, None),
        (402, google(402, "RESOURCE_EXHAUSTED", "Spend cap reached.")),
        (402, openai("Insufficient Balance", type="unknown_error", code="invalid_request_error")),
        (400, anthropic("invalid_request_error", "You have reached your specified API usage limits.")),
        (400, anthropic("invalid_request_error", "Your credit balance is too low to access the Anthropic API.")),
        (429, openai(QUOTA_WORDS, type="insufficient_quota", code="insufficient_quota")),
        (429, openai(QUOTA_WORDS, type="exceeded_current_quota_error")),
        (429, google(429, "RESOURCE_EXHAUSTED", QUOTA_WORDS, PER_DAY, RETRY_IN)),
        (429, openai("Rate limit reached on tokens per day (TPD): Limit 1.", code="rate_limit_exceeded")),
        (429, {"error": {"code": 429, "message": "Rate limit exceeded: free-models-per-day"}}),
    ],
    ProviderModelMissing: [
        (404, None),
        (404, b"404 page not found"),
        (404, openai("The model `x` does not exist.", code="model_not_found")),
        (400, openai("The requested model 'x' does not exist.", code="model_not_found")),
        (404, {"error": {"code": "DeploymentNotFound", "message": "The API deployment does not exist."}}),
        (400, {"error": {"message": "x is not a valid model ID", "code": 400}}),
        (400, {"object": "error", "message": "Invalid model: x", "type": "invalid_model", "code": "1500"}),
        (400, openai("The model `x` has been decommissioned.", code="model_decommissioned")),
        (400, {"code": "bad", "error": "The model grok-0 does not exist or your team has no access to it."}),
        (410, {"detail": "end of life"}),
        (403, openai("Project does not have access to model x", code="model_not_found")),
    ],
    ProviderTooLong: [
        (400, openai("This model's maximum context length is 8192 tokens.", code="context_length_exceeded")),
        (400, {"error": {"code": 400, "type": "exceed_context_size_error", "message": "exceeds"}}),
        (400, openai("x", code="too_many_prompt_tokens")),
        (400, {"object": "error", "message": "This model's maximum context length is 4096", "code": 400}),
        (400, anthropic("invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum")),
        (400, google(400, "INVALID_ARGUMENT", "The input token count (9) exceeds the maximum number of tokens")),
        (413, {"error": {"code": "tokens_limit_reached", "message": "Request body too large"}}),
        (413, openai("Request too large for model x on tokens per minute", code="rate_limit_exceeded", type="tokens")),
    ],
    ProviderUnsupported: [
        (400, openai("Unsupported parameter: 'max_tokens'.", code="unsupported_parameter", param="max_tokens")),
        (400, openai("Unsupported value: 'temperature' does not support 0.2", code="unsupported_value")),
        (400, openai("Unrecognized request argument supplied: foo")),
        (400, google(400, "INVALID_ARGUMENT", 'Invalid JSON payload received. Unknown name "x": Cannot find field.')),
        (422, {"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "Extra inputs not permitted"}]}),
        (400, anthropic("invalid_request_error", "This model does not support assistant message prefill.")),
        (501, None),
    ],
    ProviderPolicy: [
        (400, openai("The response was filtered due to Azure's policy.", code="content_filter", status=400)),
        (403, {"error": {"code": 403, "message": "Input was flagged", "metadata": {"reasons": ["violence"]}}}),
        (403, {"error": {"code": 403, "message": "Blocked by a guardrail"}}),
        (400, openai("Invalid prompt: flagged.", code="invalid_prompt")),
    ],
    ProviderRejected: [
        (400, None),
        (400, openai("messages: at least one is required")),
        (400, b"Bad Request"),
        (413, None),
        (413, anthropic("request_too_large", "Request exceeds the maximum size")),
        (422, {"detail": "messages must not be empty"}),
    ],
    ProviderFailed: [
        (400, openai("Failed to call a function.", code="tool_use_failed")),
        (400, openai("Failed to generate JSON.", code="json_validate_failed")),
        *((status, None) for status in (408, 409, 425, 498, 499, 500, 502, 503, 504, 520, 524, 529)),
        (500, openai("maximum context length, said somebody in the prompt")),
        (529, anthropic("overloaded_error", "Overloaded")),
        (503, google(503, "UNAVAILABLE", "The model is overloaded.")),
        (503, b"<html>This model does not exist</html>"),
    ],
    ProviderRateLimited: [
        (429, None),
        (429, openai("Rate limit reached", code="rate_limit_exceeded")),
        (429, google(429, "RESOURCE_EXHAUSTED", QUOTA_WORDS, PER_MINUTE, RETRY_IN)),
        (429, {"object": "error", "message": "Requests rate limit exceeded", "type": "rate_limited", "code": "1300"}),
    ],
    ProviderMoved: [(301, None), (302, None), (307, b"<html>moved</html>"), (308, None), (405, None)],
}
TABLE = [(kind, status, body) for kind, rows in ROWS.items() for status, body in rows]

AGAIN = {ProviderFailed, ProviderRateLimited}
OTHERS = set(ROWS) - {ProviderPolicy, ProviderRejected}


def sent(body: object) -> bytes:
    return body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)


@pytest.mark.parametrize(("kind", "status", "body"), TABLE)
def test_each_row_of_the_table(kind: type[ProviderError], status: int, body: object) -> None:
    error = refusal(status, {}, sent(body), path="/v1/chat/completions")

    assert type(error) is kind
    assert error.answer is not None
    assert (error.answer.status, error.answer.path) == (status, "/v1/chat/completions")


@pytest.mark.parametrize(("kind", "status", "body"), TABLE)
def test_each_row_alone_and_with_a_second_provider(kind: type[ProviderError], status: int, body: object) -> None:
    failure = Failure(0, refusal(status, {}, sent(body)))

    alone = after_failure([failure], providers=1, max_tries=4)
    among_two = after_failure([failure], providers=2, max_tries=4)

    assert isinstance(alone, Retry) is (kind in AGAIN)
    assert not isinstance(alone, Retry) or alone.pause_s >= 0.25
    assert among_two == (Retry(1, 0.0) if kind in OTHERS else GiveUp(failure.error))


@pytest.mark.parametrize(("kind", "status", "body"), TABLE)
def test_a_provider_is_asked_as_often_as_it_can_help(kind: type[ProviderError], status: int, body: object) -> None:
    failures = [Failure(0, refusal(status, {}, sent(body)))]
    while isinstance(step := after_failure(failures, providers=1, max_tries=4), Retry):
        failures.append(Failure(step.index, refusal(status, {}, sent(body))))

    assert len(failures) == (4 if kind in AGAIN else 1)


def test_an_error_inside_of_an_answer_is_understood_in_every_shape() -> None:
    inner = {"message": "slow down", "type": "rate_limit_error", "code": None}
    for value in (inner, {"error": inner}, [{"error": inner}], {"type": "error", "error": inner}):
        assert type(error_inside(value)) is ProviderRateLimited
    assert type(error_inside({"code": 429})) is ProviderRateLimited
    assert type(error_inside({"object": "error", "message": "x", "code": 400})) is ProviderRejected
    assert type(error_inside("a mere string")) is ProviderFailed
    assert (
        type(error_inside({"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}})) is ProviderQuota
    )
    odd: list[object] = [
        None,
        [],
        {},
        7,
        [[[[]]]],
        {"error": {"error": {"error": {"error": {"error": {"code": 401}}}}}},
    ]
    assert {type(error_inside(nonsense)) for nonsense in odd} == {ProviderFailed}


@pytest.mark.parametrize(
    "body",
    [b"", b"\xff\xfe", b"[" * 900, b"null", b"<html>no such model</html>", b'{"error": [1, "x", null]}', b"x" * 99_999],
)
def test_no_body_is_too_odd(body: bytes) -> None:
    assert isinstance(refusal(400, {}, body), ProviderRejected)


# Pauses


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "0"}, None),
        ({"retry-after-ms": "0"}, None),
        ({"retry-after-ms": "0", "Retry-After": "1"}, 1),
        ({"Retry-After": "0", "x-ms-retry-after-ms": "1500"}, 1.5),
        ({"x-ms-retry-after-ms": "250", "Retry-After": "9"}, 0.25),
        ({"Retry-After": "Wed, 21 Oct 2020 07:28:00 GMT"}, None),
        ({"Retry-After": "999999999"}, MAX_RETRY_AFTER_S),
    ],
)
def test_a_pause_of_nothing_is_none(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, now=NOW) == seconds


@pytest.mark.parametrize(
    ("span", "seconds"),
    [
        ("48s", 48),
        ("1m3.5s", 63.5),
        ("250ms", 0.25),
        ("0s", None),
        (7, 7),
        (0, None),
        (True, None),
        ("soon", None),
        (None, None),
    ],
)
def test_a_span(span: object, seconds: float | None) -> None:
    assert seconds_of(span) == seconds


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Please retry in 48.9s.", 48.9),
        ("Please try again in 7m12.5s. Need more?", 432.5 if MAX_RETRY_AFTER_S > 432.5 else MAX_RETRY_AFTER_S),
        ("Please retry after 2 seconds.", 2),
        ("Please try again in 20ms", 0.02),
        ("Please retry later", None),
    ],
)
def test_a_pause_in_words(message: str, seconds: float | None) -> None:
    assert pause_in_words(message) == seconds


def test_the_pause_in_the_body_counts_where_no_header_has_one() -> None:
    body = orjson.dumps(google(429, "RESOURCE_EXHAUSTED", QUOTA_WORDS, PER_MINUTE, RETRY_IN))
    assert refusal(429, {}, body).retry_after_s == 12
    assert refusal(429, {"Retry-After": "3"}, body).retry_after_s == 3
    assert refusal(429, {"Retry-After": "0"}, body).retry_after_s == 12


@pytest.mark.parametrize(
    ("value", "meant"), [("true", True), ("false", False), ("False ", False), ("1", None), ("", None)]
)
def test_the_provider_s_own_word(value: str, meant: bool | None) -> None:
    assert should_retry({"x-should-retry": value}) is meant
    assert refusal(500, {"x-should-retry": value}).should_retry is meant


# What an operator gets to know


def test_what_is_known_of_a_refusal() -> None:
    headers = {"x-request-id": "req_abc"}
    error = refusal(400, headers, sent(openai("secret words", code="weird_code")), path="/v1/chat/completions")

    assert error.answer is not None
    assert error.answer.facts() == {
        "status": 400,
        "code": "weird_code",
        "type": "invalid_request_error",
        "path": "/v1/chat/completions",
        "request_id": "req_abc",
    }
    assert error.answer.message == "secret words"
    assert "secret" not in repr(error.answer)
    assert "secret" not in str(error)


@pytest.mark.parametrize("value", ["a sentence with the prompt", "x" * 200, "", None, True, {"a": 1}, "a\nb", "é"])
def test_what_might_be_a_sentence_is_no_name(value: object) -> None:
    assert plain_name(value) is None
    assert complaint_of({"error": {"code": value, "type": value}}).code is None


def test_a_code_may_be_a_number() -> None:
    assert complaint_of({"error": {"code": 429}}).code == "429"
    assert complaint_of({"error": {"code": "3230"}}).number is None


def test_a_request_id_may_stand_in_the_body() -> None:
    error = refusal(400, {}, sent(anthropic("invalid_request_error", "no")))
    assert error.answer is not None
    assert error.answer.request_id == "req_1"


def test_where_an_error_belongs_is_added_and_not_overwritten() -> None:
    error = refusal(400, {"x-request-id": "a"}, path="/v1/x")
    assert located(error, path="/v2", status=200, headers={"x-request-id": "b"}) is error
    assert error.answer is not None
    assert error.answer.facts() == {"status": 400, "path": "/v1/x", "request_id": "a"}


def test_a_message_is_bounded() -> None:
    assert len(complaint_in(sent(openai("x" * 5000))).message) == 500


# Reading


async def test_a_body_is_read_up_to_a_bound() -> None:
    async def read(_deadline: float) -> bytes:
        return b"x" * 10_000

    assert len(await read_refusal(read, float("inf"))) == MAX_REFUSAL_BYTES


async def test_a_body_that_breaks_off_still_says_what_came() -> None:
    pieces = iter([b"so far"])

    async def read(_deadline: float) -> bytes:
        piece = next(pieces, None)
        if piece is None:
            raise ProviderTruncated
        return piece

    assert await read_refusal(read, float("inf")) == b"so far"


async def test_a_body_is_waited_for_for_seconds_only() -> None:
    now = asyncio.get_running_loop().time()
    deadlines: list[float] = []

    async def read(deadline: float) -> bytes:
        deadlines.append(deadline - now)
        return b""

    await read_refusal(read, now + 600)
    await read_refusal(read, now + 1)
    assert deadlines[0] < 3
    assert deadlines[1] < 1.5
