"""The AI SDK's chat API over HTTP: ask, resume, stop, and what is refused."""

import asyncio
from typing import Any

import pytest

from shared.log import events
from shared.store.redis.store import RedisStore
from tests.support.calls import call, state
from tests.support.script import Script, expected
from tests.support.sse_client import Answer, opened
from tests.support.stack import MODEL, Stack
from tests.support.streams import append, begin, texts
from tests.support.waiting import eventually
from tests.wires.hearing import AiSdkHearing

__all__ = ()


def question(script: Script, **fields: Any) -> dict[str, Any]:
    part = {"type": "text", "text": script.prompt()}
    messages = [{"id": "m1", "role": "user", "parts": [part]}]
    return {"id": script.key, "model": MODEL, "messages": messages, "trigger": "submit-message", **fields}


async def heard(answer: Answer, hearing: AiSdkHearing | None = None) -> AiSdkHearing:
    hearing = hearing or AiSdkHearing()
    async for part in answer.body():
        hearing.feed(part)
    assert answer.is_complete
    return hearing


async def test_a_chat_is_asked_and_says_where_its_answer_is(broker: Stack) -> None:
    script = Script("ui-chat", chunks=60, kinds="mixed")
    async with opened(broker.ports[0], "POST", "/api/chat", body=question(script)) as answer:
        hearing = await heard(answer)
    stream_id = answer.headers["x-tailrace-stream"]
    assert (hearing.spoken(), hearing.ending) == (expected(script), "done")
    assert answer.headers["x-workflow-run-id"] == stream_id
    assert answer.headers["location"] == f"/v1/streams/{stream_id}"
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    assert answer.headers["content-type"].startswith("text/event-stream")


async def test_a_body_is_json_whatever_it_is_called_and_needs_no_chat(broker: Stack) -> None:
    """A `WorkflowChatTransport` sends neither a content type nor an id."""
    script = Script("ui-run", chunks=5)
    body = question(script)
    del body["id"], body["trigger"]
    headers = {"content-type": "text/plain;charset=UTF-8"}
    async with opened(broker.ports[0], "POST", "/api/chat", headers=headers, body=body) as answer:
        assert (await heard(answer)).spoken() == expected(script)


async def test_a_chat_is_resumed_from_the_start_until_it_has_been_over_for_a_while(broker: Stack) -> None:
    script = Script("ui/resumed chat", chunks=60, rate=60, kinds="mixed")
    path = "/api/chat/ui%2Fresumed%20chat/stream"
    async with opened(broker.ports[0], "GET", path) as none:
        assert none.status == 204
    async with opened(broker.ports[0], "POST", "/api/chat", body=question(script)) as first:
        async for _ in first.body():
            break
    async with opened(broker.plain.port, "GET", path) as second:
        hearing = await heard(second)
    assert (hearing.spoken(), hearing.starts) == (expected(script), 1)
    assert second.headers["x-tailrace-stream"] == first.headers["x-tailrace-stream"]
    async with opened(broker.ports[0], "GET", path) as third:
        assert (await heard(third)).spoken() == expected(script)
    await eventually(lambda: has_nothing(broker, path))


async def has_nothing(broker: Stack, path: str) -> bool:
    """Return whether the answer has been over for so long that no page could have been cut off from its end."""
    async with opened(broker.ports[0], "GET", path) as answer:
        return answer.status == 204


@pytest.mark.parametrize("index", [2, 7, 10**9])
async def test_a_run_is_told_anew_to_whoever_has_some_of_it(broker: Stack, index: int) -> None:
    script = Script(f"ui-run-{index}", chunks=20, kinds="mixed")
    async with opened(broker.ports[0], "POST", "/api/chat", body=question(script)) as first:
        whole = await first.read()
    run_id = first.headers["x-workflow-run-id"]
    async with opened(broker.plain.port, "GET", f"/api/chat/{run_id}/stream?startIndex={index}") as again:
        raw = await again.read()
    assert raw.startswith(b'data: {"type":"reset-step"}\n\n')
    hearing = AiSdkHearing()
    hearing.feed(whole.partition(b'data: {"type":"finish-step"}')[0] + raw)
    assert hearing.spoken() == expected(script)


@pytest.mark.parametrize(("index", "tail"), [(0, None), (1, None), (-20, "19")])
async def test_a_run_is_told_from_the_start_to_whoever_has_nothing(broker: Stack, index: int, tail: str | None) -> None:
    script = Script(f"ui-run-anew-{index}", chunks=20)
    async with opened(broker.ports[0], "POST", "/api/chat", body=question(script)) as first:
        await first.read()
    run_id = first.headers["x-workflow-run-id"]
    async with opened(broker.ports[0], "GET", f"/api/chat/{run_id}/stream?startIndex={index}") as again:
        hearing = await heard(again)
    assert (hearing.spoken(), hearing.starts) == (expected(script), 1)
    assert again.headers.get("x-workflow-stream-tail-index") == tail


async def test_version_6_has_its_own_path_and_query(broker: Stack) -> None:
    """It does not know of `reset-step`, so that it is refused rather than told what it throws at."""
    script = Script("ui-6", chunks=5)
    for path in ("/api/v6/chat", "/api/chat?ui=6"):
        async with opened(broker.ports[0], "POST", path, body=question(script)) as answer:
            assert (await heard(answer)).spoken() == expected(script)
    run_id = answer.headers["x-workflow-run-id"]
    for path in (f"/api/v6/chat/{run_id}/stream?startIndex=5", f"/api/chat/{run_id}/stream?startIndex=5&ui=6"):
        async with opened(broker.ports[0], "GET", path) as refused:
            assert refused.status == 400
            assert "startIndex" in (await refused.read()).decode()


async def test_a_chat_is_stopped_but_not_by_whoever_means_an_older_answer(broker: Stack) -> None:
    script = Script("ui-stop", chunks=5_000, rate=50)
    async with opened(broker.ports[0], "POST", "/api/chat", body=question(script)) as answer:
        stream_id = answer.headers["x-tailrace-stream"]
        await eventually(lambda: has_status(broker, stream_id, "running"))
        for body, status in (({"activeStreamId": "3f" + "0" * 30}, "running"), ({"activeStreamId": stream_id}, None)):
            assert await call(broker.plain.port, "POST", "/api/chat/ui-stop/stop", body=body) == (
                200,
                {"success": True},
            )
            assert status is None or await has_status(broker, stream_id, status)
        hearing = await heard(answer)
    assert hearing.ending == "cancelled"
    assert await call(broker.ports[0], "POST", "/api/chat/nobodys/stop", body={}) == (200, {"success": True})


async def has_status(broker: Stack, stream_id: str, status: str) -> bool:
    found: str = (await state(broker.ports[0], stream_id))["status"]
    return found == status


async def test_a_new_question_is_what_the_chat_is_at(broker: Stack) -> None:
    old, new = (Script("ui-two", chunks=chunks, rate=rate) for chunks, rate in ((5_000, 50), (40, 40)))
    async with opened(broker.ports[0], "POST", "/api/chat", body=question(old)) as first:
        async with opened(broker.ports[0], "POST", "/api/chat", body=question(new)) as second:
            async for _ in second.body():
                break
        async with opened(broker.ports[0], "GET", "/api/chat/ui-two/stream") as resumed:
            assert (await heard(resumed)).spoken() == expected(new)
        await call(broker.ports[0], "POST", f"/v1/streams/{first.headers['x-tailrace-stream']}/cancel", body={})


async def test_an_answer_after_tools_goes_on_in_its_message(broker: Stack) -> None:
    script = Script("ui-tools", chunks=5)
    tool = {"type": "tool-f", "toolCallId": "call_1", "state": "output-available", "input": {}, "output": 1}
    body = question(script)
    body["messages"] += [{"id": "answer-1", "role": "assistant", "parts": [{"type": "step-start"}, tool]}]
    async with opened(broker.ports[0], "POST", "/api/chat", body=body) as answer:
        raw = await answer.read()
    assert raw.startswith(b'data: {"type":"start","messageId":"answer-1"}\n\ndata: {"type":"start-step"}\n\n')


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "/api/chat", {"messages": []}, 400, "model: "),
        ("POST", "/api/chat", {"model": MODEL, "messages": []}, 400, "messages: "),
        ("POST", "/api/chat", {"model": MODEL, "messages": [{"role": "x"}]}, 400, "messages.0."),
        ("POST", "/api/chat", {"id": 7}, 400, "id: "),
        ("POST", "/api/chat", {"model": "nobodys", "messages": [{"role": "user", "content": "Hi"}]}, 404, "model"),
        ("POST", "/api/chat?ui=5", {}, 400, "ui"),
        ("GET", "/api/chat/c/stream?startIndex=x", None, 400, "startIndex: "),
        ("GET", f"/api/chat/{'3f' + '0' * 30}/stream?startIndex=5", None, 404, "stream"),
        ("GET", "/api/chat/elsewhere", None, 404, ""),
        ("DELETE", "/api/chat", None, 405, ""),
    ],
)
async def test_a_refusal_is_a_sentence_that_the_page_can_show(
    broker: Stack, method: str, path: str, body: object, status: int, said: str
) -> None:
    async with opened(broker.ports[0], method, path, body=body) as refused:
        text = (await refused.read()).decode()
    assert (refused.status, refused.headers["content-type"]) == (status, "text/plain; charset=utf-8")
    assert refused.headers["x-tailrace-error"]
    assert text.strip()
    assert said in text
    assert not text.startswith("{")


async def test_an_answer_that_breaks_is_an_error_and_finished(log: RedisStore, broker: Stack) -> None:
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, [*texts("Half"), events.error("provider_failed", "It broke.", retryable=True)])
    async with opened(broker.ports[0], "GET", f"/api/chat/{stream_id}/stream?startIndex=0") as answer:
        hearing = await asyncio.wait_for(heard(answer), 10)
    assert hearing.ending == "provider_failed"
