"""An answer that broke off is taken up or begun anew, as provider and request allow: what is asked, what is kept."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from shared.log.keys import Keyspace
from shared.store.redis.store import RedisStore
from shared.store.state import Meta
from tests.support.answering import Answering, Reply, answering_provider, said
from tests.support.pulling import Pulling, pulling

__all__ = ()

HALF = "Once upon a time there was a king who had three daughters"
REST = ", and the youngest could not sleep."
CUT = said(HALF[:30], HALF[30:], finish=None)
WHOLE = said(HALF, REST)
NO_PREFILL = Reply(400, b'{"error":{"message":"The conversation must end with a user message."}}')


@asynccontextmanager
async def asking(
    store: RedisStore, redis_url: str, keys: Keyspace, *servers: tuple[Answering, str], workers: int = 1
) -> AsyncIterator[Pulling]:
    """Workers whose providers are these servers, each with more lines for its entry."""
    entries = [
        f'name = "p{number}"\nbase_url = "{server.base_url}"\nmodels = ["*"]\n{lines}\n'
        for number, (server, lines) in enumerate(servers)
    ]
    async with pulling(store, redis_url, keys, workers=workers, entries=entries) as pulls:
        yield pulls


async def outcome_of(pulls: Pulling, **options: Any) -> tuple[Meta, Sequence[tuple[str, str]]]:
    body = {"model": "m", "messages": [{"role": "user", "content": "tell me"}], **options}
    stream_id = await pulls.ask(body)
    meta = await pulls.until_over(stream_id)
    return meta, await pulls.parts(stream_id)


def keeps(meta: Meta) -> list[int]:
    return [fence.keep for fence in meta.fences]


async def test_a_refused_prefill_is_a_new_start_and_not_the_end(
    store: RedisStore, redis_url: str, keys: Keyspace
) -> None:
    async with (
        answering_provider(CUT, NO_PREFILL, WHOLE) as server,
        asking(store, redis_url, keys, (server, 'continuation = "prefill"')) as pulls,
    ):
        meta, parts = await outcome_of(pulls)

    assert (meta.status, parts) == ("done", [("text", HALF + REST)])
    assert keeps(meta) == [0, len(HALF), 0]
    assert [len(request["messages"]) for request in server.requests] == [1, 2, 1]


async def test_another_that_can_take_it_up_is_asked_first(store: RedisStore, redis_url: str, keys: Keyspace) -> None:
    unsupported = Reply(400, b'{"error":{"message":"This model does not support assistant message prefill."}}')
    async with (
        answering_provider(CUT, unsupported) as first,
        answering_provider(unsupported, said(REST)) as second,
        asking(store, redis_url, keys, *((each, 'continuation = "prefill"') for each in (first, second))) as pulls,
    ):
        second.answer = lambda body, _: said(REST)
        meta, parts = await outcome_of(pulls)

    assert (meta.status, parts) == ("done", [("text", HALF + REST)])
    assert keeps(meta) == [0, len(HALF)]


async def test_nobody_who_takes_it_up_is_left_but_somebody_who_can_begin(
    store: RedisStore, redis_url: str, keys: Keyspace
) -> None:
    async with (
        answering_provider(CUT, Reply(401)) as first,
        answering_provider(WHOLE) as second,
        asking(store, redis_url, keys, (first, 'continuation = "prefill"'), (second, "")) as pulls,
    ):
        meta, parts = await outcome_of(pulls)

    assert (meta.status, parts) == ("done", [("text", HALF + REST)])
    assert meta.provider == "p1"


@pytest.mark.parametrize("continuation", ["prefix", "continue_final_message"])
async def test_an_echo_is_trimmed(store: RedisStore, redis_url: str, keys: Keyspace, continuation: str) -> None:
    async with (
        answering_provider(CUT, said(HALF[:20], HALF[20:] + REST)) as server,
        asking(store, redis_url, keys, (server, f'continuation = "{continuation}"')) as pulls,
    ):
        meta, parts = await outcome_of(pulls)

    assert parts == [("text", HALF + REST)]
    assert keeps(meta) == [0, len(HALF)]
    again = server.requests[1]
    assert again["messages"][1]["content"] == HALF
    assert again["messages"][1].get(continuation) is (True if continuation in {"prefix", "partial"} else None)
    assert again.get("continue_final_message") is (True if continuation == "continue_final_message" else None)
    assert again.get("add_generation_prompt") is (False if continuation == "continue_final_message" else None)


async def test_a_long_repetition_is_trimmed(store: RedisStore, redis_url: str, keys: Keyspace) -> None:
    text = " ".join(str(number * 7919 % 10007) for number in range(1000))
    half, back = text[:3000], text[1000:3000]
    async with (
        answering_provider(said(half, finish=None), said(back[:900], back[900:], text[3000:])) as server,
        asking(store, redis_url, keys, (server, 'continuation = "message"')) as pulls,
    ):
        meta, parts = await outcome_of(pulls)

    assert parts == [("text", text)]
    assert keeps(meta) == [0, 3000]


async def test_what_cannot_be_told_from_a_repetition_starts_over(
    store: RedisStore, redis_url: str, keys: Keyspace
) -> None:
    row = "| 0 | 0 | 0 |\n"
    async with (
        answering_provider(said(row * 5, finish=None), said(row * 3), said(row * 9)) as server,
        asking(store, redis_url, keys, (server, 'continuation = "message"')) as pulls,
    ):
        meta, parts = await outcome_of(pulls)

    assert parts == [("text", row * 9)]
    assert keeps(meta) == [0, len(row) * 5, 0]


@pytest.mark.parametrize(
    ("usage", "left"), [({"usage": {"prompt_tokens": 3, "completion_tokens": 20}}, 80), ({}, 100 - -(-len(HALF) // 4))]
)
async def test_the_limit_is_less_by_what_was_emitted(
    store: RedisStore, redis_url: str, keys: Keyspace, usage: dict[str, Any], left: int
) -> None:
    frame = b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": {"content": HALF}}], **usage}) + b"\n\n"
    cut = Reply(body=frame, headers={"Content-Type": "text/event-stream"}, breaks=True)
    async with (
        answering_provider(cut, said(REST)) as server,
        asking(store, redis_url, keys, (server, 'continuation = "prefill"')) as pulls,
    ):
        _, parts = await outcome_of(pulls, max_tokens=100)

    assert parts == [("text", HALF + REST)]
    assert [request["max_tokens"] for request in server.requests] == [100, left]


async def test_an_answer_whose_limit_is_used_up_is_over(store: RedisStore, redis_url: str, keys: Keyspace) -> None:
    async with (
        answering_provider(CUT, said(REST)) as server,
        asking(store, redis_url, keys, (server, 'continuation = "prefill"')) as pulls,
    ):
        meta, parts = await outcome_of(pulls, max_completion_tokens=14)

    assert (meta.status, meta.finish_reason, parts) == ("done", "length", [("text", HALF)])
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "options",
    [
        {"response_format": {"type": "json_object"}},
        {"tool_choice": "required", "tools": []},
    ],
)
async def test_what_is_good_only_whole_is_begun_anew(
    store: RedisStore, redis_url: str, keys: Keyspace, options: dict[str, Any]
) -> None:
    async with (
        answering_provider(CUT, WHOLE) as server,
        asking(store, redis_url, keys, (server, 'continuation = "prefill"')) as pulls,
    ):
        meta, parts = await outcome_of(pulls, **options)

    assert parts == [("text", HALF + REST)]
    assert keeps(meta) == [0, 0]
    assert all(len(request["messages"]) == 1 for request in server.requests)


async def test_so_does_a_takeover_without_spending_an_attempt_on_it(
    store: RedisStore, redis_url: str, keys: Keyspace
) -> None:
    async with (
        answering_provider(WHOLE) as server,
        asking(store, redis_url, keys, (server, 'continuation = "prefill"'), workers=2) as pulls,
    ):
        stalling = said(HALF, finish=None)
        server.answer = lambda body, number: (
            Reply(body=stalling.body, headers=stalling.headers, stalls=True) if number == 0 else WHOLE
        )
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        stream_id = await pulls.ask({**body, "response_format": {"type": "json_object"}})
        pulls.worker_of(await pulls.until_tail(stream_id, len(HALF))).kill()
        meta = await pulls.until_over(stream_id)

    assert [(fence.reason, fence.keep) for fence in meta.fences] == [("start", 0), ("takeover", 0)]


async def test_a_key_that_fails_half_way_leaves_the_rest_to_another(
    store: RedisStore, redis_url: str, keys: Keyspace
) -> None:
    frames = CUT.body + b'data: {"error":{"code":"insufficient_quota"}}\n\n'
    cut = Reply(body=frames, headers=CUT.headers)
    async with (
        answering_provider(cut) as first,
        answering_provider(said(REST)) as second,
        asking(store, redis_url, keys, *((each, 'continuation = "prefill"') for each in (first, second))) as pulls,
    ):
        meta, parts = await outcome_of(pulls)

    assert (meta.status, parts, meta.provider) == ("done", [("text", HALF + REST)], "p1")
    assert len(first.requests) == 1


async def test_a_failure_says_who_failed_and_what_it_answered(
    store: RedisStore, redis_url: str, keys: Keyspace
) -> None:
    body = b'{"error":{"message":"the prompt was: tell me","code":"odd_code","type":"odd_type"}}'
    async with (
        answering_provider(Reply(400, body, {"x-request-id": "req_9"})) as server,
        asking(store, redis_url, keys, (server, "")) as pulls,
    ):
        meta, parts = await outcome_of(pulls)
        log = pulls.workers[0].log

    assert (meta.status, meta.provider, parts) == ("error", "p0", [])
    assert meta.first_ms == 0
    assert meta.error is not None
    assert meta.error["code"] == "provider_rejected"
    assert meta.error["answer"] == {
        "status": 400,
        "code": "odd_code",
        "type": "odd_type",
        "path": "/v1/chat/completions",
        "request_id": "req_9",
    }
    assert "tell me" not in str(meta.error) + log
