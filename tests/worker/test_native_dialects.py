"""Each dialect over a real socket: what is asked, how an answer is read, what refusals mean, what the doctor says."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from services.cli.checks.places import Places
from services.cli.checks.providers import check_providers
from services.worker.providers.completion import ConfiguredProvider
from services.worker.providers.http.session import new_session
from services.worker.providers.provider import CompletionRequest, Outcome
from services.worker.providers.registry import DIALECTS, provider_of
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
from shared.log.events import Event
from shared.settings.providers import ProviderSettings
from shared.settings.settings import Settings
from tests.support.answering import Reply, answering_provider

__all__ = ()

KEY = "sk-canary-key"
SSE, LINES = {"Content-Type": "text/event-stream"}, {"Content-Type": "application/x-ndjson"}


@dataclass(frozen=True)
class Spoken:
    """How a dialect says "Hi there" and that it is the end, asks, and names its models."""

    path: str
    header: str
    texts: tuple[dict[str, Any], dict[str, Any]]
    end: tuple[dict[str, Any], ...]
    models: dict[str, Any]
    is_sse: bool = True

    def body(self, *, is_whole: bool = True) -> bytes:
        frames = [*self.texts, *(self.end if is_whole else ())]
        form = b"data: %b\n\n" if self.is_sse else b"%b\n"
        return b"".join(form % orjson.dumps(frame) for frame in frames)

    def reply(self, *, is_whole: bool = True, **values: Any) -> Reply:
        return Reply(body=self.body(is_whole=is_whole), headers=SSE if self.is_sse else LINES, **values)


def _anthropic(text: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}


def _gemini(text: str, **candidate: Any) -> dict[str, Any]:
    return {"candidates": [{"content": {"parts": [{"text": text}]}, **candidate}]}


SPOKEN = {
    "anthropic": Spoken(
        "POST /v1/messages ",
        f"x-api-key: {KEY}",
        (_anthropic("Hi"), _anthropic(" there")),
        (
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
            {"type": "message_stop"},
        ),
        {"data": [{"type": "model", "id": "big"}]},
    ),
    "gemini": Spoken(
        "POST /v1/models/big:streamGenerateContent?alt=sse ",
        f"x-goog-api-key: {KEY}",
        (_gemini("Hi"), _gemini(" there")),
        ({**_gemini("", finishReason="STOP"), "usageMetadata": {"candidatesTokenCount": 2}},),
        {"models": [{"name": "models/big"}]},
    ),
    "ollama": Spoken(
        "POST /v1/api/chat ",
        f"Authorization: Bearer {KEY}",
        ({"message": {"content": "Hi"}}, {"message": {"content": " there"}}),
        ({"message": {"content": ""}, "done": True, "done_reason": "stop", "eval_count": 2},),
        {"models": [{"name": "big:latest"}]},
        is_sse=False,
    ),
    "responses": Spoken(
        "POST /v1/responses ",
        f"Authorization: Bearer {KEY}",
        (
            {"type": "response.output_text.delta", "output_index": 0, "delta": "Hi"},
            {"type": "response.output_text.delta", "output_index": 0, "delta": " there"},
        ),
        ({"type": "response.completed", "response": {"status": "completed", "usage": {"output_tokens": 2}}},),
        {"data": [{"id": "big", "object": "model"}]},
    ),
}

each_dialect = pytest.mark.parametrize("name", SPOKEN)


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with new_session() as session:
        yield session


def provider_at(base_url: str, name: str, session: aiohttp.ClientSession, **values: Any) -> ConfiguredProvider:
    settings = ProviderSettings(
        name="p", dialect=name, base_url=base_url, models=["*"], api_key_env="KEY", first_token_timeout_s=5, **values
    )
    return provider_of(settings, session, environment={"KEY": KEY})


async def answer_of(provider: ConfiguredProvider) -> tuple[str, Outcome | None]:
    """The text and the outcome of an answer that is read as a worker does."""
    texts: list[bytes] = []

    def take(events: Sequence[Event]) -> bool:
        texts.extend(event.value for event in events if event.kind == "text")
        return True

    stream = provider.stream(CompletionRequest("big", [{"role": "user", "content": "hi"}]))
    try:
        await stream.open()
        while (events := await stream.read()) is not None:
            take(events)
            await stream.pour(take)
    finally:
        await stream.aclose()
    return b"".join(texts).decode(), stream.outcome


def test_every_dialect_of_its_own_is_here() -> None:
    assert set(SPOKEN) == {each.name for each in DIALECTS} - {"openai"}


@each_dialect
async def test_it_is_spoken(session: aiohttp.ClientSession, name: str) -> None:
    async with answering_provider(SPOKEN[name].reply()) as server:
        answer = await answer_of(provider_at(server.base_url, name, session))
    assert answer == ("Hi there", Outcome("stop", {"output_tokens": 2}))
    (head,) = server.heads
    assert head.startswith(SPOKEN[name].path)
    assert SPOKEN[name].header.lower() in head.lower()


@each_dialect
async def test_an_entry_s_headers_and_query_go_along(session: aiohttp.ClientSession, name: str) -> None:
    extras = {"extra_headers": {"X-Team": "a b"}, "extra_query": {"api-version": "1"}, "api_key_header": "api-key"}
    async with answering_provider(SPOKEN[name].reply()) as server:
        await answer_of(provider_at(server.base_url, name, session, **extras))
    (head,) = server.heads
    assert {"x-team: a b", f"api-key: {KEY}"} <= set(head.lower().split("\r\n"))
    assert "api-version=1 HTTP/1.1" in head
    assert head.count(KEY) == 1


@each_dialect
async def test_an_answer_that_breaks_off_is_truncated(session: aiohttp.ClientSession, name: str) -> None:
    async with answering_provider(SPOKEN[name].reply(is_whole=False)) as server:
        with pytest.raises(ProviderTruncated):
            await answer_of(provider_at(server.base_url, name, session))


# The end of an answer of Gemini is the end of its bytes.
@pytest.mark.parametrize("name", sorted(SPOKEN.keys() - {"gemini"}))
async def test_a_whole_answer_does_not_wait_for_the_end_of_the_connection(
    session: aiohttp.ClientSession, name: str
) -> None:
    async with answering_provider(SPOKEN[name].reply(stalls=True)) as server, asyncio.timeout(3):
        text, _ = await answer_of(provider_at(server.base_url, name, session))
    assert text == "Hi there"


def _error(name: str, status: int, word: str, message: str) -> bytes:
    """A refusal in the shape that this dialect has for it."""
    match name:
        case "anthropic":
            return orjson.dumps({"type": "error", "error": {"type": word, "message": message}, "request_id": "r"})
        case "gemini":
            return orjson.dumps({"error": {"code": status, "status": word.upper(), "message": message}})
        case "ollama":
            return orjson.dumps({"error": message})
    return orjson.dumps({"error": {"type": word, "message": message, "code": word, "param": None}})


# What it is, how each says it: status, the word for it, the sentence.
REFUSALS: list[tuple[type[ProviderError], dict[str, tuple[int, str, str]]]] = [
    (
        ProviderAuth,
        {
            "anthropic": (401, "authentication_error", "invalid x-api-key"),
            "gemini": (400, "invalid_argument", "API key not valid. Please pass a valid API key."),
            "ollama": (401, "", "unauthorized"),
            "responses": (401, "invalid_api_key", "Incorrect API key provided"),
        },
    ),
    (
        ProviderAuth,
        {
            "anthropic": (403, "permission_error", "no"),
            "gemini": (403, "permission_denied", "no"),
            "ollama": (403, "", "no"),
            "responses": (403, "unsupported_country_region_territory", "no"),
        },
    ),
    (
        ProviderQuota,
        {
            "anthropic": (400, "invalid_request_error", "You have reached your specified API usage limits."),
            "gemini": (429, "resource_exhausted", "You exceeded your current quota, please check your plan."),
            "ollama": (402, "", "payment required"),
            "responses": (429, "insufficient_quota", "You exceeded your current quota"),
        },
    ),
    (
        ProviderModelMissing,
        {
            "anthropic": (404, "not_found_error", "model: big"),
            "gemini": (404, "not_found", "models/big is not found"),
            "ollama": (404, "", "model 'big' not found"),
            "responses": (400, "model_not_found", "The requested model 'big' does not exist."),
        },
    ),
    (
        ProviderTooLong,
        {
            "anthropic": (400, "invalid_request_error", "prompt is too long: 210000 tokens > 200000 maximum"),
            "gemini": (400, "invalid_argument", "The input token count (9) exceeds the maximum number of tokens"),
            "ollama": (400, "", "the prompt exceeds the available context size"),
            "responses": (400, "context_length_exceeded", "too long"),
        },
    ),
    (
        ProviderUnsupported,
        {
            "anthropic": (400, "invalid_request_error", "top_k: Extra inputs are not permitted"),
            "gemini": (400, "invalid_argument", "Unknown name topQ: Cannot find field.: unknown field"),
            "ollama": (400, "", "big does not support tools"),
            "responses": (400, "unsupported_parameter", "no"),
        },
    ),
    (
        ProviderRejected,
        {
            "anthropic": (400, "invalid_request_error", "messages: roles must alternate"),
            "gemini": (400, "invalid_argument", "contents must not be empty"),
            "ollama": (400, "", "messages must not be empty"),
            "responses": (400, "invalid_request_error", "input is empty"),
        },
    ),
    (
        ProviderPolicy,
        {
            "anthropic": (400, "invalid_request_error", "Output blocked by content policy"),
            "gemini": (400, "invalid_argument", "The prompt was flagged."),
            "ollama": (400, "", "blocked by guardrail"),
            "responses": (400, "invalid_prompt", "no"),
        },
    ),
    (
        ProviderRateLimited,
        {
            "anthropic": (429, "rate_limit_error", "slow down"),
            "gemini": (429, "resource_exhausted", "Resource exhausted. Please retry in 48.9s."),
            "ollama": (429, "", "too many requests"),
            "responses": (429, "rate_limit_exceeded", "slow down"),
        },
    ),
    (
        ProviderFailed,
        {
            "anthropic": (529, "overloaded_error", "Overloaded"),
            "gemini": (503, "unavailable", "overloaded"),
            "ollama": (502, "", "the runner has stopped"),
            "responses": (500, "server_error", "no"),
        },
    ),
    (
        ProviderMoved,
        {
            "anthropic": (308, "", ""),
            "gemini": (302, "", ""),
            "ollama": (301, "", ""),
            "responses": (307, "", ""),
        },
    ),
]


@each_dialect
@pytest.mark.parametrize(("kind", "by_dialect"), REFUSALS, ids=lambda value: getattr(value, "code", ""))
async def test_a_refusal_is_ours(
    session: aiohttp.ClientSession, name: str, kind: type[ProviderError], by_dialect: dict[str, tuple[int, str, str]]
) -> None:
    status, word, message = by_dialect[name]
    said = f"{message} ({KEY})"
    async with answering_provider(Reply(status, _error(name, status, word, said))) as server:
        with pytest.raises(ProviderError) as caught:
            await answer_of(provider_at(server.base_url, name, session))
    error = caught.value
    assert type(error) is kind
    assert error.answer is not None
    assert (error.answer.status, KEY in error.answer.message) == (status, False)
    assert len(server.requests) == 1


@each_dialect
async def test_the_doctor_lists_its_models(name: str) -> None:
    reply = Reply(body=orjson.dumps(SPOKEN[name].models))
    async with answering_provider(reply) as server:
        entry = ProviderSettings(name="p", dialect=name, base_url=server.base_url, models=["big"], api_key_env="KEY")
        findings = await check_providers(Settings(providers=[entry]), {"KEY": KEY}, Places(Path("tailrace.toml")))
    assert [str(finding.detail) for finding in findings] == ["answers; serves big"]
    assert SPOKEN[name].header.lower() in server.heads[0].lower()


@each_dialect
async def test_a_probe_asks_for_them(session: aiohttp.ClientSession, name: str) -> None:
    async with answering_provider(Reply(body=b"{}")) as server:
        await provider_at(server.base_url, name, session).probe()
    async with answering_provider(Reply(401, b"{}")) as server:
        with pytest.raises(ProviderAuth):
            await provider_at(server.base_url, name, session).probe()
    assert SPOKEN[name].header.lower() in server.heads[0].lower()
