"""The compliance cases of the Open Responses project, as data."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from tests.support.calls import call
from tests.support.script import Script
from tests.support.sse_client import opened
from tests.support.stack import MODEL, Stack

__all__ = ()

DATA: Final[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("open_responses.yaml").read_text("utf-8"))
TYPES: Final = {"str": str, "int": int, "float": float, "bool": bool, "list": list, "dict": dict, "null": type(None)}
# Of a call, streamed: each of these, in this order.
CALL: Final = [
    "response.output_item.added",
    "response.function_call_arguments.delta",
    "response.function_call_arguments.done",
    "response.output_item.done",
]


def asked(name: str) -> dict[str, Any]:
    """The request of a case, with a question that its provider answers with all kinds of items."""
    script = json.dumps(Script(f"open-{name}", chunks=9, kinds="mixed").prompt())
    case = {member: value for member, value in DATA["cases"][name].items() if member != "has"}
    request: dict[str, Any] = json.loads(json.dumps({"model": MODEL, **case}).replace('"question"', script))
    return request


def check(response: dict[str, Any], name: str) -> None:
    for member, types in DATA["members"].items():
        assert type(response[member]) in [TYPES[kind] for kind in types], (member, response[member])
    assert (response["object"], response["status"]) == ("response", "completed")
    assert DATA["cases"][name]["has"] in {item["type"] for item in response["output"]}
    for tool in response["tools"]:
        assert tool.keys() == {"type", "name", "description", "parameters", "strict"}
    assert response["reasoning"].keys() == {"effort", "summary"}
    assert response["usage"]["total_tokens"] == response["usage"]["input_tokens"] + response["usage"]["output_tokens"]


@pytest.mark.parametrize("name", DATA["cases"])
async def test_a_whole_response_has_what_the_cases_want(broker: Stack, name: str) -> None:
    status, response = await call(broker.ports[0], "POST", "/v1/responses", body=asked(name))
    assert status == 200
    check(response, name)


@pytest.mark.parametrize("name", DATA["cases"])
async def test_a_streamed_response_has_what_the_cases_want(broker: Stack, name: str) -> None:
    async with opened(broker.ports[0], "POST", "/v1/responses", body=asked(name) | {"stream": True}) as answer:
        raw = await answer.read()
    told = [json.loads(line.removeprefix(b"data: ")) for line in raw.split(b"\n") if line.startswith(b"data: ")]
    names = [line.removeprefix(b"event: ").decode() for line in raw.split(b"\n") if line.startswith(b"event: ")]
    assert names == [event["type"] for event in told]
    assert names[:2] == ["response.created", "response.in_progress"]
    numbers = [event["sequence_number"] for event in told]
    assert all(earlier < later for earlier, later in pairwise(numbers))
    index = next(event["output_index"] for event in told if event.get("item", {}).get("type") == "function_call")
    seen = dict.fromkeys(event["type"] for event in told if event.get("output_index") == index)
    assert list(seen) == CALL
    check(told[-1]["response"], name)


@pytest.mark.parametrize("path", ["compact", "input_tokens"])
async def test_endpoints_that_are_not_here_are_absent(broker: Stack, path: str) -> None:
    status, body = await call(broker.ports[0], "POST", f"/v1/responses/{path}", body={"model": MODEL, "input": "x"})
    assert (status, body["error"]["type"]) == (404, "invalid_request_error")
