"""OpenAI's own SDK, unmodified, on `/v1/chat/completions`."""

import asyncio
import json
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import aiohttp
import pytest
from openai import (
    APIConnectionError,
    APIError,
    APIStatusError,
    AsyncOpenAI,
    AsyncStream,
    BadRequestError,
    NotFoundError,
)
from openai.types.chat import ChatCompletionChunk

from shared.log import events
from shared.store.redis.store import RedisStore
from tests.support.calls import call, state
from tests.support.script import Fault, Script, expected
from tests.support.stack import MODEL, Stack
from tests.support.streams import append, begin, texts
from tests.support.waiting import eventually

__all__ = ()

TOOL = {"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture
async def client(broker: Stack) -> AsyncIterator[Any]:
    async with client_of(broker.ports[0]) as made:
        yield made


def client_of(port: int, **options: Any) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="unused", max_retries=0, **options)


def question(script: Script) -> dict[str, Any]:
    return {"model": MODEL, "messages": script.messages()}


def said_by(script: Script) -> dict[str, str]:
    """The whole text of each kind."""
    said: dict[str, str] = {}
    for kind, text in expected(script):
        said[kind] = said.get(kind, "") + text
    return said


async def test_a_stream_is_exact_and_ends_with_its_usage(client: Any) -> None:
    script = Script("chat-stream", chunks=60, kinds="mixed")
    heard: dict[str, str] = {}
    usage = None
    stream = await client.chat.completions.create(
        **question(script), stream=True, stream_options={"include_usage": True}
    )
    async for chunk in stream:
        usage = chunk.usage
        for choice in chunk.choices:
            delta = choice.delta
            for kind, text in (("text", delta.content), ("reasoning", getattr(delta, "reasoning_content", None))):
                if text:
                    heard[kind] = heard.get(kind, "") + text
            for each in delta.tool_calls or ():
                assert each.index == 0
                assert each.function is not None
                heard["tool_call"] = heard.get("tool_call", "") + (each.function.arguments or "")
    assert heard == said_by(script)
    assert usage is not None


async def test_the_helper_that_puts_a_stream_together_gets_the_same(client: Any) -> None:
    script = Script("chat-helper", chunks=60, kinds="mixed")
    async with client.chat.completions.stream(**question(script), tools=[TOOL]) as stream:
        completion = await stream.get_final_completion()
    message = completion.choices[0].message
    said = said_by(script)
    assert message.content == said["text"]
    assert message.tool_calls is not None
    assert message.tool_calls[0].function.arguments == said["tool_call"]


async def test_one_answer_for_the_whole(client: Any) -> None:
    script = Script("chat-whole", chunks=60, kinds="mixed")
    raw = await client.chat.completions.with_raw_response.create(**question(script))
    completion = raw.parse()
    (choice,) = completion.choices
    said = said_by(script)
    assert choice.message.content == said["text"]
    assert choice.message.model_extra is not None
    assert choice.message.model_extra["reasoning_content"] == said["reasoning"]
    assert choice.message.tool_calls is not None
    assert [call.type for call in choice.message.tool_calls] == ["function"]
    assert choice.finish_reason == "tool_calls"
    assert completion.usage is not None
    assert completion.id == f"chatcmpl-{raw.headers['x-tailrace-stream']}"
    assert raw.headers["location"] == f"/v1/streams/{raw.headers['x-tailrace-stream']}"


async def test_text_that_looks_like_frames_is_text(log: RedisStore, broker: Stack) -> None:
    """Half of it written before the reader comes, half live."""
    hazard = 'data: [DONE]\n\ndata: {"error":{}}\r\n\x00\u2028<script>'
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, texts(hazard))
    path = f"http://127.0.0.1:{broker.ports[0]}/v1/streams/{stream_id}/events?wire=openai"
    said = ""
    async with aiohttp.ClientSession() as http, http.get(path) as response:
        await append(log, stream_id, [*texts(hazard), events.done("stop")], tail=len(hazard.encode()))
        raw = await response.text()
    for line in raw.split("\n\n")[:-2]:
        delta = json.loads(line.removeprefix("data: "))["choices"][0]["delta"]
        said += delta.get("content", "")
    assert said == hazard * 2
    assert raw.endswith("data: [DONE]\n\n")


async def test_a_provider_that_fails_before_the_first_word_is_an_error(client: Any) -> None:
    script = Script("chat-fails", chunks=5, fault=Fault("status", status=401))
    with pytest.raises(APIStatusError) as whole:
        await client.chat.completions.create(**question(script))
    assert whole.value.body is not None
    assert (whole.value.status_code, whole.value.code) == (502, "provider_auth")
    stream = await client.chat.completions.create(**question(script), stream=True)
    with pytest.raises(APIError) as streamed:
        await text_of(stream)
    assert streamed.value.code == "provider_auth"


async def test_a_stream_that_another_cancels_ends_with_that_error(client: Any, broker: Stack) -> None:
    script = Script("chat-cancelled", chunks=1_000, rate=50)
    raw = await client.chat.completions.with_raw_response.create(**question(script), stream=True)
    stream_id = raw.headers["x-tailrace-stream"]
    await eventually(lambda: has_status(broker, stream_id, "running"))
    await call(broker.plain.port, "POST", f"/v1/streams/{stream_id}/cancel", body={})
    with pytest.raises(APIError) as cancelled:
        await text_of(raw.parse())
    assert cancelled.value.code == "cancelled"


async def test_the_answer_outlives_its_client_unless_that_says_otherwise(client: Any, broker: Stack) -> None:
    for header, status in (({}, "running"), ({"x-tailrace-cancel-on-disconnect": "1"}, "cancelled")):
        for is_streaming in (True, False):
            script = Script(f"chat-left-{status}-{is_streaming}", chunks=2_000, rate=100)
            before = await newest(broker)
            asked = question(script) | {"stream": is_streaming, "extra_headers": header}
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(whole_or_text(client, asked), 1.5)
            stream_id = await newest(broker)
            assert stream_id != before
            await eventually(partial(has_status, broker, stream_id, status))
            await call(broker.ports[0], "POST", f"/v1/streams/{stream_id}/cancel", body={})


async def whole_or_text(client: Any, asked: dict[str, Any]) -> None:
    answer = await client.chat.completions.create(**asked)
    if asked["stream"]:
        await text_of(answer)


async def text_of(stream: Any) -> str:
    """The text of chunks until their end."""
    async with stream:
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])


async def newest(broker: Stack) -> str | None:
    _, listed = await call(broker.ports[0], "GET", "/v1/streams?limit=1")
    return next((each["id"] for each in listed["streams"]), None)


async def has_status(broker: Stack, stream_id: str | None, status: str) -> bool:
    assert stream_id is not None
    found: str = (await state(broker.ports[0], stream_id))["status"]
    return found == status


async def test_models_are_listed_by_name_and_found_by_pattern(client: Any) -> None:
    listed = [model async for model in client.models.list()]
    assert [model.id for model in listed] == [MODEL]
    assert all(isinstance(model.created, int) for model in listed)
    assert (await client.models.retrieve(f"{MODEL}-large")).id == f"{MODEL}-large"
    with pytest.raises(NotFoundError) as unknown:
        await client.models.retrieve("nobodys")
    assert unknown.value.code == "model_not_found"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"n": 2}, "n"),
        ({"logprobs": True}, "logprobs"),
        ({"top_logprobs": 3}, "top_logprobs"),
        ({"audio": {"voice": "x", "format": "wav"}}, "audio"),
        ({"modalities": ["text", "audio"]}, "modalities"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"function_call": {"name": "f"}}, "function_call"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"temperature": 9}, "temperature"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "function", "content": ""}]}, "messages.0.role"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_a_stream_cannot_hold_is_refused_by_name(client: Any, fields: dict[str, Any], param: str) -> None:
    asked: dict[str, Any] = question(Script("chat-refused")) | fields
    with pytest.raises(BadRequestError) as refused:
        await client.chat.completions.create(**asked)
    assert refused.value.param == param
    assert param.split(".")[0] in str(refused.value)
    assert refused.value.response.headers["x-should-retry"] == "false"


async def test_fields_that_ask_for_nothing_are_taken(client: Any) -> None:
    taken = {"n": 1, "logprobs": False, "store": True, "user": "u", "modalities": ["text"], "function_call": "none"}
    completion = await client.chat.completions.create(**question(Script("chat-taken", chunks=3)), **taken)
    assert completion.choices[0].message.content


async def test_an_unknown_model_and_absent_endpoints_are_errors_of_this_api(client: Any) -> None:
    with pytest.raises(NotFoundError) as unknown:
        await client.chat.completions.create(model="nobodys", messages=[{"role": "user", "content": "Hi"}])
    assert unknown.value.code == "model_not_found"
    with pytest.raises(NotFoundError) as absent:
        await client.embeddings.create(model=MODEL, input="x")
    assert absent.value.code == "unknown_url"
    with pytest.raises(NotFoundError):
        await client.completions.create(model=MODEL, prompt="x")


async def test_a_body_that_is_no_object_is_an_error_of_this_api(broker: Stack) -> None:
    url = f"http://127.0.0.1:{broker.ports[0]}/v1/chat/completions"
    async with aiohttp.ClientSession() as http:
        for content, status in ((b"{", 400), (b"[]", 400), (b"[" * 5_000, 400)):
            async with http.post(url, data=content) as answer:
                assert answer.status == status
                assert (await answer.json())["error"].keys() == {"message", "type", "param", "code"}
        async with http.post(url, json={}, headers={"origin": "https://elsewhere.example"}) as foreign:
            assert (await foreign.json())["error"]["type"] == "permission_error"


async def test_a_reader_that_is_cut_off_has_an_error_and_not_an_end(client: Any, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, texts("Half"))
    await append(log, stream_id, [events.error("provider_failed", "It broke.", retryable=True)], tail=4)
    path = f"/streams/{stream_id}/events?wire=openai"
    stream = await client.get(path, cast_to=object, stream=True, stream_cls=AsyncStream[ChatCompletionChunk])
    with pytest.raises(APIError) as failed:
        await text_of(stream)
    assert failed.value.code == "provider_failed"
    assert not isinstance(failed.value, APIConnectionError)


async def test_a_repeated_request_joins_the_stream_that_the_first_began(client: Any, broker: Stack) -> None:
    """On another edge, while it lives; only if the SDK says that it is a repetition, and of the same body."""
    script = Script("chat-repeated", chunks=40, rate=40)
    first = await client.chat.completions.with_raw_response.create(**question(script), stream=True)
    again = {"x-stainless-retry-count": "1"}
    other = client_of(broker.plain.port)
    joined = await other.chat.completions.with_raw_response.create(**question(script), stream=True, extra_headers=again)
    anew = await client.chat.completions.with_raw_response.create(**question(script), stream=True)
    named = {**question(script), "user": "else"}
    different = await client.chat.completions.with_raw_response.create(**named, stream=True, extra_headers=again)
    ids = [each.headers["x-tailrace-stream"] for each in (first, joined, anew, different)]
    assert ids[0] == ids[1]
    assert len(set(ids)) == 3
    assert await text_of(joined.parse()) == await text_of(first.parse()) == said_by(script)["text"]
    await other.close()


async def test_a_repeated_request_does_not_join_what_failed(client: Any) -> None:
    script = Script("chat-repeated-failure", chunks=5, fault=Fault("status", status=401, times=1))
    with pytest.raises(APIStatusError):
        await client.chat.completions.create(**question(script))
    again = {"x-stainless-retry-count": "1"}
    assert await client.chat.completions.create(**question(script), extra_headers=again)
