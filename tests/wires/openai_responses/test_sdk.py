"""OpenAI's own SDK, unmodified, on `/v1/responses`."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from openai import APIError, APIStatusError, AsyncOpenAI, BadRequestError, NotFoundError

from shared.log import events
from shared.store.calls import Compact
from shared.store.redis.store import RedisStore
from tests.support.calls import call, state
from tests.support.script import Fault, Script, expected
from tests.support.stack import MODEL, Stack
from tests.support.streams import append, begin, claim, nonce, texts
from tests.support.waiting import eventually

__all__ = ()

TOOL: Any = {"type": "function", "name": "look_up", "parameters": {"type": "object", "properties": {}}, "strict": False}


@pytest.fixture
async def client(broker: Stack) -> AsyncIterator[Any]:
    async with client_of(broker.ports[0]) as made:
        yield made


def client_of(port: int) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="unused", max_retries=0)


def question(script: Script) -> dict[str, Any]:
    return {"model": MODEL, "input": script.prompt()}


def said_in(response: Any) -> list[tuple[str, str]]:
    said = []
    for item in response.output:
        if item.type == "reasoning":
            said.append(("reasoning", "".join(part.text for part in item.summary)))
        elif item.type == "function_call":
            said.append(("tool_call", item.arguments))
        else:
            said.append(("text", "".join(part.text for part in item.content)))
    return said


async def deltas_of(stream: Any) -> str:
    return "".join([event.delta async for event in stream if event.type.endswith(".delta")])


async def test_a_stream_is_exact_and_its_numbers_rise(client: Any) -> None:
    script = Script("responses-stream", chunks=60, kinds="mixed")
    heard, numbers, last = "", [], None
    event: Any
    async for event in await client.responses.create(**question(script), stream=True):
        numbers.append(event.sequence_number)
        heard += event.delta if event.type.endswith(".delta") else ""
        last = event
    assert heard == "".join(text for _, text in expected(script))
    assert all(earlier < later for earlier, later in itertools.pairwise(numbers))
    assert last is not None
    assert last.type == "response.completed"
    assert said_in(last.response) == expected(script)
    assert last.response.usage is not None


async def test_the_helper_that_puts_a_stream_together_gets_the_same(client: Any) -> None:
    script = Script("responses-helper", chunks=60, kinds="mixed")
    async with client.responses.stream(**question(script), tools=[TOOL]) as stream:
        snapshots = [event.snapshot async for event in stream if event.type == "response.output_text.delta"]
        response = await stream.get_final_response()
    assert said_in(response) == expected(script)
    assert snapshots[-1] == response.output_text


async def test_one_answer_for_the_whole(client: Any) -> None:
    script = Script("responses-whole", chunks=60, kinds="mixed")
    asked = question(script) | {"temperature": 0.5, "tools": [TOOL], "metadata": {"a": "b"}, "store": False}
    raw = await client.responses.with_raw_response.create(**asked)
    response = raw.parse()
    assert said_in(response) == expected(script)
    assert (response.status, response.temperature, response.metadata) == ("completed", 0.5, {"a": "b"})
    assert response.id == f"resp_{raw.headers['x-tailrace-stream']}"
    assert raw.headers["location"] == f"/v1/streams/{raw.headers['x-tailrace-stream']}"


async def test_a_response_in_the_background_can_be_polled_read_and_resumed(client: Any, broker: Stack) -> None:
    script = Script("responses-background", chunks=120, rate=80, kinds="mixed")
    response = await client.responses.create(**question(script), background=True)
    assert (response.status, response.background) == ("queued", True)
    heard, last = "", 0
    event: Any
    async with client_of(broker.plain.port) as other:
        stream = await other.responses.retrieve(response.id, stream=True)
        async for event in stream:
            last = event.sequence_number
            heard += event.delta if event.type.endswith(".delta") else ""
            if len(heard) > 200:
                break
        await stream.close()
    stream = await client.responses.retrieve(response.id, stream=True, starting_after=last)
    heard += await deltas_of(stream)
    assert heard == "".join(text for _, text in expected(script))
    polled = await client.responses.retrieve(response.id)
    assert polled.status == "completed"
    assert said_in(polled) == expected(script)


async def test_a_stream_in_the_background_goes_on_without_its_reader(client: Any) -> None:
    script = Script("responses-left", chunks=100, rate=200)
    stream: Any = await client.responses.create(**question(script), background=True, stream=True)
    response_id = None
    async for event in stream:
        response_id = response_id or event.response.id
        break
    await stream.close()
    async with client.responses.stream(response_id=response_id, starting_after=1) as followed:
        final = await followed.get_final_response()
    assert said_in(final) == expected(script)


@pytest.mark.parametrize("is_folded", [False, True], ids=["as written", "folded"])
async def test_every_number_resumes_exactly(client: Any, log: RedisStore, is_folded: bool) -> None:
    """What was told up to a number and what is told after it are the whole, event for event."""
    stream_id = await begin(log, tenant="public")
    said = [
        *[events.delta("reasoning", text) for text in ("Hm", "m")],
        *texts("One é", " two"),
        events.delta("refusal", "No."),
        events.tool_call(4, '{"a":', call_id="call_a", name="first"),
        events.tool_call(7, "", call_id="call_b", name="second"),
        events.tool_call(4, "1}"),
        events.tool_call(7, "{}"),
        events.annotation({"type": "url_citation", "url": "u", "title": "t", "start_index": 0, "end_index": 1}),
        *texts("After."),
        events.done("stop"),
    ]
    await append(log, stream_id, said)
    before = [event async for event in await client.responses.retrieve(f"resp_{stream_id}", stream=True)]
    if is_folded:
        await log.compact([Compact(stream_id)])
    whole = [event async for event in await client.responses.retrieve(f"resp_{stream_id}", stream=True)]
    for number in [event.sequence_number for event in before]:
        stream = await client.responses.retrieve(f"resp_{stream_id}", stream=True, starting_after=number)
        rest = [event async for event in stream]
        assert all(event.sequence_number > number for event in rest)
        told = [event for event in before if event.sequence_number <= number]
        assert said_by([*told, *rest]) == said_by(before) == said_by(whole)
        names = [event.type for event in [*told, *rest] if not event.type.endswith(".delta")]
        assert names == [event.type for event in before if not event.type.endswith(".delta")]


def said_by(told: list[Any]) -> dict[int, str]:
    said: dict[int, str] = {}
    for event in told:
        if event.type.endswith(".delta"):
            said[event.output_index] = said.get(event.output_index, "") + event.delta
    return said


async def test_an_attempt_that_begins_anew_breaks_the_item_off_and_tells_another(client: Any, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, [events.delta("reasoning", "Well"), *texts("Wrong")])
    async with asyncio.timeout(20), client.responses.stream(response_id=f"resp_{stream_id}") as stream:
        names: list[str] = []
        last = -1
        async for event in stream:
            assert event.sequence_number > last
            last = event.sequence_number
            if event.type == "response.output_text.delta" and event.delta == "Wrong":
                await claim(log, stream_id, 2, holder=nonce(1))
                await append(log, stream_id, [*texts("Right"), events.done("stop")], number=2)
            names.append(f"{event.type}:{getattr(getattr(event, 'item', None), 'status', '')}")
        final = await stream.get_final_response()
    assert said_in(final) == [("text", "Right")]
    assert "response.output_item.done:incomplete" in names


async def test_a_call_that_was_begun_cannot_be_taken_back(client: Any, log: RedisStore) -> None:
    """Whoever was told of it may have made it: the response goes on, and this reader is told to fetch it."""
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, [events.tool_call(0, '{"a"', call_id="call_a", name="f")])
    with pytest.raises(APIError) as told:
        await restart_after_a_word(client, log, stream_id)
    assert told.value.code == "attempt_restarted"
    assert said_in(await client.responses.retrieve(f"resp_{stream_id}")) == [("text", "Right")]


async def restart_after_a_word(client: Any, log: RedisStore, stream_id: str) -> None:
    async for event in await client.responses.retrieve(f"resp_{stream_id}", stream=True):
        if event.type == "response.function_call_arguments.delta":
            await claim(log, stream_id, 2, holder=nonce(1))
            await append(log, stream_id, [*texts("Right"), events.done("stop")], number=2)


async def test_cancel_is_for_all_and_can_be_repeated(client: Any, broker: Stack) -> None:
    script = Script("responses-cancelled", chunks=1_000, rate=50)
    stream: Any = await client.responses.create(**question(script), stream=True)
    response_id, last = None, None
    async for event in stream:
        last = event
        if response_id is None:
            response_id = event.response.id
            await eventually(partial(has_status, broker, response_id, "running"))
            await client.responses.cancel(response_id)
    assert last is not None
    assert (last.type, last.response.status) == ("response.incomplete", "cancelled")
    for _ in range(2):
        assert (await client.responses.cancel(response_id)).status == "cancelled"


async def has_status(broker: Stack, response_id: str, status: str) -> bool:
    found: str = (await state(broker.ports[0], response_id.removeprefix("resp_")))["status"]
    return found == status


async def test_a_deleted_response_is_gone(client: Any) -> None:
    response = await client.responses.create(**question(Script("responses-deleted", chunks=3)))
    await client.responses.delete(response.id)
    with pytest.raises(NotFoundError) as gone:
        await client.responses.retrieve(response.id)
    assert gone.value.code == "stream_deleted"
    with pytest.raises(NotFoundError):
        await client.responses.retrieve("resp_nothing", stream=True)


async def test_a_provider_that_fails_is_an_error(client: Any) -> None:
    script = Script("responses-fails", chunks=5, fault=Fault("status", status=401))
    with pytest.raises(APIStatusError) as whole:
        await client.responses.create(**question(script))
    assert (whole.value.status_code, whole.value.code) == (502, "provider_auth")
    last = None
    async for event in await client.responses.create(**question(script), stream=True):
        last = event
    assert last is not None
    assert last.type == "response.failed"
    assert last.response.error.code == "server_error"
    assert "provider_auth" in last.response.error.message


async def test_a_reader_whose_stream_vanishes_has_an_error(client: Any, log: RedisStore, broker: Stack) -> None:
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, texts("Half"))
    with pytest.raises(APIError) as gone:
        await delete_after_a_word(client, broker, stream_id)
    assert gone.value.code == "stream_gone"


async def delete_after_a_word(client: Any, broker: Stack, stream_id: str) -> None:
    async for event in await client.responses.retrieve(f"resp_{stream_id}", stream=True):
        if event.type == "response.output_text.delta":
            await call(broker.ports[0], "DELETE", f"/v1/streams/{stream_id}")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
        ({"tools": [TOOL, {"type": "custom", "name": "x"}]}, "tools.1.type"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"truncation": "auto"}, "truncation"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format.type"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice"),
        ({"temperature": 9}, "temperature"),
        ({"input": []}, "input"),
        ({"input": [{"type": "computer_call"}]}, "input.0.type"),
        ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0.id"),
        ({"input": [{"role": "user", "content": [{"type": "input_file", "file_id": "f"}]}]}, "input.0.content.0"),
        ({"input": [{"role": "tool", "content": ""}]}, "input.0.role"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_what_a_stream_cannot_hold_is_refused_by_name(client: Any, fields: dict[str, Any], param: str) -> None:
    asked: dict[str, Any] = question(Script("responses-refused")) | fields
    with pytest.raises(BadRequestError) as refused:
        await client.responses.create(**asked)
    assert refused.value.param == param
    assert param.split(".")[0] in str(refused.value)
    assert refused.value.response.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("number", ["-1", "x", "1.5", "9" * 40, str(1 << 52), "320000000", "٣"])
async def test_a_wrong_number_is_an_error_of_this_api(log: RedisStore, broker: Stack, number: str) -> None:
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, [*texts("Hello"), events.done("stop")])
    path = f"/v1/responses/resp_{stream_id}?stream=true&starting_after={quoted(number)}"
    status, body = await call(broker.ports[0], "GET", path)
    assert (status, body["error"]["param"]) == (400, "starting_after")


def quoted(text: str) -> str:
    return "".join(f"%{byte:02x}" for byte in text.encode())


async def test_an_item_of_an_earlier_response_can_be_named(client: Any) -> None:
    """As the AI SDK does for what it believes to be stored."""
    first = await client.responses.create(**question(Script("responses-named", chunks=4, kinds="mixed")))
    names = {item.type: item.id for item in first.output}
    script = Script("responses-naming", chunks=3)
    call_id = next(item.call_id for item in first.output if item.type == "function_call")
    second = await client.responses.create(
        model=MODEL,
        input=[
            {"role": "user", "content": "First."},
            *[{"type": "item_reference", "id": names[kind]} for kind in ("reasoning", "message", "function_call")],
            {"type": "function_call_output", "call_id": call_id, "output": "42"},
            {"role": "user", "content": [{"type": "input_text", "text": script.prompt()}]},
        ],
    )
    assert said_in(second) == expected(script)
