"""AG-UI over HTTP: run, run again, resume, and what is refused."""

from typing import Any

import pytest

from shared.log import events
from shared.store.redis.store import RedisStore
from tests.support.calls import call, cancel
from tests.support.script import Fault, Script, expected
from tests.support.sse_client import Answer, opened
from tests.support.stack import MODEL, Stack
from tests.support.streams import append, begin, texts
from tests.wires.hearing import AgUiHearing

__all__ = ()


def question(script: Script, **fields: Any) -> dict[str, Any]:
    """Return the body that an `HttpAgent` sends."""
    messages = [{"id": "m1", "role": "user", "content": script.prompt()}]
    given = {"threadId": "thread 1", "runId": script.key, "protocolVersion": "1.0", "state": {}, "messages": messages}
    return given | {"tools": [], "context": [], "forwardedProps": {"model": MODEL}} | fields


async def heard(answer: Answer) -> AgUiHearing:
    hearing = AgUiHearing()
    async for part in answer.body():
        hearing.feed(part)
    assert answer.is_complete
    return hearing


async def test_a_run_begins_and_ends_under_its_own_names(broker: Stack) -> None:
    script = Script("agui-run", chunks=60, kinds="mixed")
    async with opened(broker.ports[0], "POST", "/v1/ag-ui", body=question(script)) as answer:
        raw = await answer.read()
    hearing = AgUiHearing()
    hearing.feed(raw)
    assert (hearing.spoken(), hearing.ending, hearing.starts) == (expected(script), "done", 1)
    assert raw.startswith(b'data: {"type":"RUN_STARTED","threadId":"thread 1","runId":"agui-run"')
    assert b'data: {"type":"RUN_FINISHED","threadId":"thread 1","runId":"agui-run"' in raw
    assert answer.headers["location"] == f"/v1/streams/{answer.headers['x-tailrace-stream']}"
    assert b"data: [DONE]\n" not in raw


async def test_the_same_run_again_is_the_same_stream_from_its_beginning(broker: Stack) -> None:
    """Whoever was cut off asks again, and nothing is generated twice."""
    script = Script("agui-again", chunks=60, rate=60, kinds="mixed")
    async with opened(broker.ports[0], "POST", "/v1/ag-ui", body=question(script)) as first:
        async for _ in first.body():
            break
    async with opened(broker.plain.port, "POST", "/v1/ag-ui", body=question(script)) as second:
        hearing = await heard(second)
    assert (hearing.spoken(), hearing.starts) == (expected(script), 1)
    assert second.headers["x-tailrace-stream"] == first.headers["x-tailrace-stream"]
    other = question(script) | {"state": {"another": True}}
    status, answer = await call(broker.ports[0], "POST", "/v1/ag-ui", body=other)
    assert (status, answer["code"]) == (409, "idempotency_conflict")


async def test_every_id_resumes_exactly(broker: Stack) -> None:
    script = Script("agui-ids", chunks=12, kinds="mixed")
    async with opened(broker.ports[0], "POST", "/v1/ag-ui", body=question(script)) as answer:
        whole = await answer.read()
    hearing = AgUiHearing()
    hearing.feed(whole)
    path = f"/v1/streams/{answer.headers['x-tailrace-stream']}/events?wire=ag-ui"
    for event_id in hearing.ids[:-1:4]:
        async with opened(broker.ports[0], "GET", path, headers={"last-event-id": event_id}) as rest:
            before, _, after = whole.partition(f"id: {event_id}\n\n".encode())
            again = AgUiHearing()
            again.feed(before + b"\n" + await rest.read())
            assert (again.spoken(), again.ending) == (expected(script), "done"), (event_id, after)


async def test_a_run_that_is_cancelled_is_finished_and_says_so(broker: Stack) -> None:
    script = Script("agui-cancelled", chunks=3_000, rate=50)
    async with opened(broker.ports[0], "POST", "/v1/ag-ui", body=question(script)) as answer:
        await cancel(broker.plain.port, answer.headers["x-tailrace-stream"])
        assert (await heard(answer)).ending == "cancelled"


async def test_a_run_that_fails_is_an_error(broker: Stack) -> None:
    script = Script("agui-fails", fault=Fault("status", status=400))
    async with opened(broker.ports[0], "POST", "/v1/ag-ui", body=question(script)) as answer:
        assert (await heard(answer)).ending == "provider_rejected"


async def test_what_has_no_word_of_its_own_is_custom_and_what_is_opaque_is_kept(broker: Stack, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    said = [
        events.delta("reasoning", "Hm"),
        events.reasoning_end({"signature": "c2ln"}),
        *texts("See"),
        events.annotation({"url": "https://example.org"}),
        *texts(" there"),
        events.tool_call(0, "", call_id="call_1", name="f", provider_data={"thought": "x"}),
        events.done("tool_calls", usage={"input_tokens": 3, "cached_tokens": 1}),
    ]
    await append(log, stream_id, said)
    async with opened(broker.ports[0], "GET", f"/v1/streams/{stream_id}/events?wire=ag-ui") as answer:
        raw = await answer.read()
    hearing = AgUiHearing()
    hearing.feed(raw)
    assert hearing.spoken() == [("reasoning", "Hm"), ("text", "See there"), ("tool_call", "")]
    assert b'"subtype":"message","entityId":"%b-r0"' % stream_id.encode() in raw
    assert b'"subtype":"tool-call","entityId":"call_1"' in raw
    assert b'"name":"tailrace.annotation"' in raw
    assert b'"outcome":{"type":"success","pendingToolCallIds":["call_1"]}' in raw
    assert b'"usage":[{"inputTokens":3,"cachedInputTokens":1}]' in raw


@pytest.mark.parametrize(
    ("fields", "status", "said"),
    [
        ({"threadId": None}, 400, "threadId"),
        ({"runId": "x" * 257}, 400, "runId"),
        ({"messages": []}, 400, "messages"),
        ({"messages": [{"id": "1", "role": "poet", "content": ""}]}, 400, "messages.0.role"),
        ({"forwardedProps": {}}, 400, "forwardedProps.model"),
        ({"forwardedProps": {"model": MODEL, "temperature": 9}}, 400, "temperature"),
        ({"forwardedProps": {"model": "nobodys"}}, 404, "model"),
        ({"resume": [{"interruptId": "1", "status": "resolved"}]}, 400, "resume"),
        ({"tools": [{}]}, 400, "tools.0"),
        ({"context": ["x"]}, 400, "context.0"),
    ],
)
async def test_a_refusal_is_what_would_have_been_the_last_event(
    broker: Stack, fields: dict[str, Any], status: int, said: str
) -> None:
    body = question(Script("agui-refused")) | fields
    found, answer = await call(broker.ports[0], "POST", "/v1/ag-ui", body=body)
    assert (found, answer["type"]) == (status, "RUN_ERROR")
    assert said in answer["message"]


async def test_an_absent_endpoint_has_the_shape_too(broker: Stack) -> None:
    found, answer = await call(broker.ports[0], "GET", "/v1/ag-ui/threads")
    assert (found, answer["type"]) == (404, "RUN_ERROR")
