"""What comes beside the text of an answer reaches readers: live, in the state, and in a reset."""

import json

from shared.log import events
from shared.store.redis.store import RedisStore
from tests.support.calls import state
from tests.support.sse_client import NDJSON, SSE, follow, opened
from tests.support.stack import Stack
from tests.support.streams import append, begin, end

__all__ = ()

DATA = {"signature": "s"}
CITATION = {"type": "url_citation", "url_citation": {"url": "https://example.org/"}}
SAID = [
    events.delta("reasoning", "hm"),
    events.reasoning_end(DATA),
    events.delta("text", "a"),
    events.annotation(CITATION),
    events.delta("text", "b"),
    events.tool_call(0, "{}", call_id="c", name="f", provider_data=DATA),
    *events.file_pieces(0, "data:image/png;base64," + "A" * events.MAX_EVENT_BYTES, "image/png"),
]
PARTS = [
    {"type": "reasoning", "provider_data": DATA, "text": "hm"},
    {"type": "text", "annotations": [CITATION], "text": "ab"},
    {"type": "tool_call", "index": 0, "id": "c", "name": "f", "provider_data": DATA, "arguments": "{}"},
    {
        "type": "file",
        "index": 0,
        "media_type": "image/png",
        "url": "data:image/png;base64," + "A" * events.MAX_EVENT_BYTES,
    },
]


async def test_what_is_beside_the_text_reaches_readers_and_the_state(broker: Stack, log: RedisStore) -> None:
    stream_id = await begin(log, tenant="public")
    await append(log, stream_id, SAID)
    await end(log, stream_id, tail=sum(event.size for event in SAID))
    port = broker.edges[0].port
    for wire in (SSE, NDJSON):
        history = await follow([port], stream_id, wires=[wire])
        assert [aside["type"] for aside in history.asides] == ["reasoning_end", "annotation", "file", "file"]
        assert history.text() == "ab"
    assert (await state(port, stream_id))["content"] == PARTS
    headers = {"Accept": NDJSON, "Last-Event-ID": "9-9.00000000"}
    async with opened(port, "GET", f"/v1/streams/{stream_id}/events", headers=headers) as answer:
        body = b"".join([piece async for piece in answer.body()])
    told = [json.loads(line) for line in body.splitlines()]
    assert next(event["parts"] for event in told if event["type"] == "reset") == PARTS
