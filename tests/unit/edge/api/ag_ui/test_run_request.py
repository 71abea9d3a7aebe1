"""Requests of AG-UI as requests of ours."""

from typing import Any

import pytest

from services.edge.api.ag_ui.conversation import chat_messages
from services.edge.api.ag_ui.request import Run, run_request
from shared.errors import InvalidRequest

__all__ = ()

USER = {"id": "1", "role": "user", "content": "Hi"}
RUN = Run("t", "r")


def test_one_turn_of_the_assistant_is_one_message_with_the_answers_of_its_tools_behind_it() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}, "encryptedValue": '{"t":1}'}
    messages = [
        USER,
        {"id": "2", "role": "reasoning", "content": "Hm", "encryptedValue": '{"signature":"x"}'},
        {"id": "3", "role": "assistant", "content": "Let me see.", "toolCalls": [call]},
        {"id": "4", "role": "assistant", "content": " Soon."},
        {"id": "5", "role": "activity", "activityType": "PLAN", "content": {}},
        {"id": "6", "role": "tool", "toolCallId": "c1", "content": [{"type": "text", "text": "42"}]},
    ]
    function = {"name": "f", "arguments": "{}"}
    assert chat_messages(messages) == [
        {"role": "user", "content": "Hi"},
        {
            "role": "assistant",
            "signature": "x",
            "content": "Let me see. Soon.",
            "tool_calls": [{"t": 1, "id": "c1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
    ]


@pytest.mark.parametrize(
    ("part", "said"),
    [
        ({"type": "text", "text": "x"}, {"type": "text", "text": "x"}),
        (
            {"type": "image", "source": {"type": "data", "value": "QQ==", "mimeType": "image/png"}},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
        ),
        (
            {"type": "image", "source": {"type": "url", "value": "https://example.org/a"}},
            {"type": "image_url", "image_url": {"url": "https://example.org/a"}},
        ),
        (
            {"type": "audio", "source": {"type": "data", "value": "QQ==", "mimeType": "audio/wav"}},
            {"type": "input_audio", "input_audio": {"data": "QQ==", "format": "wav"}},
        ),
        (
            {"type": "document", "source": {"type": "data", "value": "QQ==", "mimeType": "application/pdf"}},
            {"type": "file", "file": {"filename": "document", "file_data": "data:application/pdf;base64,QQ=="}},
        ),
        (
            {"type": "binary", "mimeType": "image/png", "data": "QQ=="},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,QQ=="}},
        ),
    ],
)
def test_parts_are_parts_of_the_chat_api(part: dict[str, Any], said: dict[str, Any]) -> None:
    assert chat_messages([{"id": "1", "role": "user", "content": [part]}]) == [{"role": "user", "content": [said]}]


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ([{"type": "video", "source": {}}], "messages.0.content.0.type"),
        ([{"type": "image", "source": {"type": "file", "value": "f"}}], "messages.0.content.0.source.type"),
        ([{"type": "image"}], "messages.0.content.0.source"),
        (["x"], "messages.0.content.0"),
        (7, "messages.0.content"),
    ],
)
def test_what_has_no_place_is_refused_by_its_place(content: object, where: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        chat_messages([{"id": "1", "role": "user", "content": content}])
    assert refused.value.message.startswith(f"{where}: ")


def test_tools_context_and_what_the_application_asks_for() -> None:
    body = {
        "messages": [USER],
        "tools": [{"name": "f", "description": "Does f.", "parameters": {"type": "object"}}],
        "context": [{"description": "The user", "value": "Ada"}],
        "forwardedProps": {"model": "m", "temperature": 0.5, "theme": "dark", "metadata": {"a": "b"}},
    }
    asked = run_request(body, RUN, default_model="")
    assert (asked.model, asked.temperature, asked.model_extra) == ("m", 0.5, {})
    assert asked.metadata == {"a": "b", "ag_ui_thread_id": "t", "ag_ui_run_id": "r"}
    assert [(message.role, message.content) for message in asked.messages] == [
        ("system", "The user: Ada"),
        ("user", "Hi"),
    ]
    function = {"name": "f", "description": "Does f.", "parameters": {"type": "object"}}
    assert asked.tools == [{"type": "function", "function": function}]


def test_without_any_model_the_request_says_where_to_name_one() -> None:
    assert run_request({"messages": [USER]}, RUN, default_model="m").model == "m"
    with pytest.raises(InvalidRequest, match="a model has to be named"):
        run_request({"messages": [USER]}, RUN, default_model="")
