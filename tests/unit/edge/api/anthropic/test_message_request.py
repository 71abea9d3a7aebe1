"""Requests of Anthropic's API, translated: nothing that was said is lost, and what has no place is named."""

from typing import Any

import pytest

from services.edge.api.anthropic.estimate import estimated_tokens
from services.edge.api.anthropic.request import message_request
from shared.errors import InvalidRequest

__all__ = ()

PNG = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}


def asked(**fields: Any) -> dict[str, Any]:
    body = {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]} | fields
    return message_request(body).model_dump(exclude_unset=True)


def test_a_plain_question_stays_one() -> None:
    assert asked() == {"model": "m", "max_tokens": 10, "messages": [{"role": "user", "content": "Hi"}]}


def test_the_system_speaks_first() -> None:
    blocks = [{"type": "text", "text": "Be", "cache_control": {"type": "ephemeral"}}, {"type": "text", "text": "brief"}]
    assert asked(system=blocks)["messages"][0] == {"role": "system", "content": "Be\n\nbrief"}
    assert asked(system="Be brief")["messages"][0] == {"role": "system", "content": "Be brief"}


def test_blocks_of_a_user_are_parts_and_results_of_tools_are_messages_before_them() -> None:
    content = [
        {"type": "text", "text": "See"},
        {"type": "image", "source": PNG},
        {"type": "image", "source": {"type": "url", "url": "https://x.example/y.png"}},
        {"type": "document", "title": "a.pdf", "source": PNG | {"media_type": "application/pdf"}},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
        {"type": "tool_result", "tool_use_id": "t1", "content": [{"type": "text", "text": "42"}]},
        {"type": "tool_result", "tool_use_id": "t2", "content": "no", "is_error": True},
        {"type": "tool_result", "tool_use_id": "t3"},
    ]
    assert asked(messages=[{"role": "user", "content": content}])["messages"] == [
        {"role": "tool", "tool_call_id": "t1", "content": "42"},
        {"role": "tool", "tool_call_id": "t2", "content": "Error: no"},
        {"role": "tool", "tool_call_id": "t3", "content": ""},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
                {"type": "image_url", "image_url": {"url": "https://x.example/y.png"}},
                {
                    "type": "file",
                    "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,iVBORw0KGgo="},
                },
                {"type": "text", "text": "plain"},
            ],
        },
    ]


def test_what_the_assistant_said_and_called_is_one_message() -> None:
    content = [
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "redacted_thinking", "data": "x"},
        {"type": "text", "text": "Let me "},
        {"type": "text", "text": "see."},
        {"type": "tool_use", "id": "t1", "name": "look", "input": {"at": "ü"}},
        {"type": "tool_use", "id": "t2", "name": "look", "input": {}},
    ]
    (message,) = asked(messages=[{"role": "assistant", "content": content}])["messages"]
    assert message["content"] == "Let me see."
    assert [call["function"] for call in message["tool_calls"]] == [
        {"name": "look", "arguments": '{"at":"ü"}'},
        {"name": "look", "arguments": "{}"},
    ]


def test_options_have_their_other_names() -> None:
    tool = {"name": "look", "description": "Looks.", "input_schema": {"type": "object"}, "cache_control": {}}
    found = asked(
        tools=[tool],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        stop_sequences=["END"],
        metadata={"user_id": "u"},
        thinking={"type": "enabled", "budget_tokens": 1024},
        temperature=0.5,
        top_k=3,
        service_tier="auto",
    )
    function = {"name": "look", "description": "Looks.", "parameters": {"type": "object"}}
    assert found["tools"] == [{"type": "function", "function": function}]
    assert (found["tool_choice"], found["parallel_tool_calls"]) == ("required", False)
    assert (found["stop"], found["user"], found["reasoning_effort"]) == (["END"], "u", "low")
    assert (found["temperature"], found["top_k"]) == (0.5, 3)
    assert "service_tier" not in found
    assert asked(output_config={"effort": "high"})["reasoning_effort"] == "high"
    named = asked(tools=[tool], tool_choice={"type": "tool", "name": "look"})
    assert named["tool_choice"] == {"type": "function", "function": {"name": "look"}}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "w"}]}, "tools.0.type"),
        ({"tools": {}}, "tools"),
        ({"tools": [3]}, "tools.0"),
        ({"tools": [{}]}, "tools.0.name"),
        ({"tool_choice": {"type": "sometimes"}}, "tool_choice.type"),
        ({"mcp_servers": [{}]}, "mcp_servers"),
        ({"container": "c"}, "container"),
        ({"messages": None}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "tool", "content": ""}]}, "messages.0.role"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": ["x"]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [{"type": "text"}]}]}, "messages.0.content.0.text"),
        ({"messages": [{"role": "user", "content": [{"type": "server_tool_use"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "assistant", "content": [{"type": "image"}]}]}, "messages.0.content.0"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages.0.content.0.source"),
        ({"metadata": 3}, "metadata"),
        ({"temperature": "hot"}, "temperature"),
    ],
    ids=str,
)
def test_what_has_no_place_is_refused_by_name(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked(**fields)
    assert refused.value.param == param
    assert param.split(".")[0] in refused.value.message


def test_max_tokens_has_to_be_there() -> None:
    with pytest.raises(InvalidRequest) as refused:
        message_request({"model": "m", "messages": [{"role": "user", "content": "Hi"}]})
    assert refused.value.param == "max_tokens"


def test_an_estimate_grows_with_what_is_said() -> None:
    short = estimated_tokens([{"role": "user", "content": "Hi"}], None)
    parts = [{"type": "text", "text": "x" * 400}, {"type": "image_url", "image_url": {"url": "data:"}}]
    assert short == 5
    assert estimated_tokens([{"role": "user", "content": parts}], None) == 4 + 100 + 1_600
    assert estimated_tokens([], [{"type": "function", "function": {"name": "x" * 100}}]) > 25
