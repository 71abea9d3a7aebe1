"""Texts that are too long to be told again and again."""

import json
from typing import Any

import pytest

from services.edge.wires.openai_responses.state import LONG_BYTES
from shared.log import events
from shared.store.calls import Compact
from shared.store.redis.store import RedisStore
from tests.support.sse_client import opened
from tests.support.stack import Stack
from tests.support.streams import append, begin, texts

__all__ = ()

LONG = "Long. \n" * (LONG_BYTES // 6)


@pytest.mark.parametrize("is_folded", [False, True], ids=["as written", "folded"])
async def test_a_long_text_is_told_twice_and_not_more(broker: Stack, log: RedisStore, is_folded: bool) -> None:
    """As it came, and with its item; and with the whole output, which no client can do without."""
    stream_id = await begin(log, tenant="public")
    pieces = [LONG[at : at + 8_000] for at in range(0, len(LONG), 8_000)]
    said = [events.delta("reasoning", piece) for piece in pieces]
    call = events.tool_call(0, json.dumps({"a": "short"}), call_id="c", name="f")
    await append(log, stream_id, [*said, *texts("Short."), call, events.done("stop")])
    if is_folded:
        await log.compact([Compact(stream_id)])
    told = await events_of(broker, f"/v1/responses/resp_{stream_id}?stream=true")
    summary = "".join(event["delta"] for event in told if event["type"].endswith("summary_text.delta"))
    names = [event["type"] for event in told]
    done = {event["item"]["type"]: event["item"] for event in told if event["type"] == "response.output_item.done"}
    assert summary == LONG
    assert "response.reasoning_summary_text.done" not in names
    assert "response.output_text.done" in names
    assert "response.function_call_arguments.done" in names
    assert done["reasoning"]["summary"][0]["text"] == LONG
    assert done.keys() == {"reasoning", "message", "function_call"}
    assert told[-1]["response"]["output"] == [done["reasoning"], done["message"], done["function_call"]]
    numbers = [event["sequence_number"] for event in told]
    assert numbers == sorted(set(numbers))
    for number in numbers[-6:]:
        rest = await events_of(broker, f"/v1/responses/resp_{stream_id}?stream=true&starting_after={number}")
        assert rest == [event for event in told if event["sequence_number"] > number]


async def events_of(broker: Stack, path: str) -> list[dict[str, Any]]:
    async with opened(broker.ports[0], "GET", path) as answer:
        raw = await answer.read()
        assert answer.is_complete
    return [json.loads(line.removeprefix(b"data: ")) for line in raw.split(b"\n") if line.startswith(b"data: ")]
