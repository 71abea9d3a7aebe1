"""Anthropic's Messages API as programs that know no SDK meet it; the SDKs have their own table."""

import json
from typing import Any

import aiohttp
import pytest

from shared.log import events
from shared.store.redis.store import RedisStore
from tests.support.calls import call
from tests.support.script import Fault, Script, expected
from tests.support.stack import MODEL, Stack
from tests.support.streams import append, begin, texts
from tests.wires.hearing import AnthropicHearing

__all__ = ()


def question(script: Script, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": 100, "messages": script.messages()} | fields


async def test_a_stream_and_one_answer_say_the_same(broker: Stack) -> None:
    script = Script("messages-same", chunks=60, kinds="mixed")
    hearing = AnthropicHearing()
    url = f"http://127.0.0.1:{broker.ports[0]}/v1/messages?beta=true"
    async with aiohttp.ClientSession(headers={"anthropic-version": "2023-06-01"}) as http:
        async with http.post(url, json=question(script, stream=True)) as response:
            assert response.content_type == "text/event-stream"
            hearing.feed(await response.read())
        async with http.post(url, json=question(script)) as response:
            whole = await response.json()
            stream_id = response.headers["x-tailrace-stream"]
    assert (hearing.spoken(), hearing.ending, hearing.starts) == (expected(script), "done", 1)
    kinds = {"thinking": "reasoning", "text": "text", "tool_use": "tool_call"}
    assert [kinds[block["type"]] for block in whole["content"]] == [kind for kind, _ in expected(script)]
    assert [block.get("text", block.get("thinking")) for block in whole["content"][:2]] == [
        text for _, text in expected(script)[:2]
    ]
    assert (whole["id"], whole["role"], whole["stop_reason"]) == (f"msg_{stream_id}", "assistant", "tool_use")
    assert whole["usage"].keys() == {"input_tokens", "output_tokens", "cache_read_input_tokens"}


async def test_a_signature_closes_its_thinking(broker: Stack, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    said = [
        events.delta("reasoning", "Hm"),
        events.reasoning_end({"signature": "c2ln"}),
        events.delta("reasoning", "More"),
        *texts("Hi"),
        events.reasoning_end({"signature": "bGF0ZQ=="}),
        events.done("stop"),
    ]
    await append(log, stream_id, said)
    raw = await told(broker, stream_id)
    hearing = AnthropicHearing()
    hearing.feed(raw)
    assert hearing.spoken() == [("reasoning", "Hm"), ("reasoning", "More"), ("text", "Hi")]
    signed = [each["delta"]["signature"] for each in frames(raw) if each.get("delta", {}).get("signature")]
    assert signed == ["c2ln", "bGF0ZQ=="]


async def test_a_refusal_is_the_reason_to_stop(broker: Stack, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, [events.delta("refusal", "No."), events.done("stop")])
    (delta,) = [each for each in frames(await told(broker, stream_id)) if each["type"] == "message_delta"]
    assert delta["delta"]["stop_reason"] == "refusal"


async def told(broker: Stack, stream_id: str) -> bytes:
    url = f"http://127.0.0.1:{broker.ports[0]}/v1/streams/{stream_id}/events?wire=anthropic"
    async with aiohttp.ClientSession() as http, http.get(url) as response:
        return await response.read()


def frames(raw: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in raw.split(b"\n") if line.startswith(b"data: ")]


async def test_errors_have_the_shape_of_this_api(broker: Stack) -> None:
    port = broker.ports[0]
    for path, body, status, kind in (
        ("/v1/messages", question(Script("x")) | {"model": "nobodys"}, 404, "not_found_error"),
        ("/v1/messages", {"model": MODEL}, 400, "invalid_request_error"),
        ("/v1/messages", question(Script("x"), temperature=9), 400, "invalid_request_error"),
        ("/v1/messages/batches", {}, 404, "not_found_error"),
        ("/v1/messages", question(Script("fails", fault=Fault("status", status=401))), 502, "api_error"),
    ):
        found, answer = await call(port, "POST", path, body=body)
        assert (found, answer["type"], answer["error"]["type"]) == (status, "error", kind)


@pytest.mark.parametrize("header", ["authorization", "x-api-key"])
async def test_models_are_listed_for_clients_of_this_api(broker: Stack, header: str) -> None:
    url = f"http://127.0.0.1:{broker.ports[0]}/v1/models"
    headers = {"anthropic-version": "2023-06-01", header: "Bearer x"}
    async with aiohttp.ClientSession() as http, http.get(url, headers=headers) as response:
        listed = await response.json()
    assert [(model["type"], model["id"]) for model in listed["data"]] == [("model", MODEL)]
    assert listed["has_more"] is False


async def test_tokens_are_estimated_and_that_is_said(broker: Stack) -> None:
    url = f"http://127.0.0.1:{broker.ports[0]}/v1/messages/count_tokens"
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello there"}]}
    async with aiohttp.ClientSession() as http, http.post(url, json=body) as response:
        assert response.headers["x-tailrace-estimate"] == "1"
        assert (await response.json())["input_tokens"] > 3
