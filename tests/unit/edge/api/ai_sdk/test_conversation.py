"""UI messages as the model gets them, and what is refused by name."""

from typing import Any

import pytest

from services.edge.api.ai_sdk.conversation import chat_messages
from services.edge.api.ai_sdk.request import chat_id_of, chat_request, start_index_of
from services.edge.wires.ai_sdk.wire import MESSAGE_ID
from shared.errors import InvalidRequest

__all__ = ()

TEXT = {"type": "text", "text": "Hello"}
HELLO = {"id": "m1", "role": "user", "parts": [TEXT]}


def of_user(*parts: dict[str, Any]) -> Any:
    return chat_messages([{"role": "user", "parts": list(parts)}])[0]["content"]


def of_assistant(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return chat_messages([{"role": "assistant", "parts": list(parts)}])


def test_text_alone_is_a_string() -> None:
    assert of_user(TEXT, {"type": "data-x", "data": 1}, TEXT) == "HelloHello"
    assert chat_messages([{"role": "system", "parts": [TEXT]}]) == [{"role": "system", "content": "Hello"}]
    assert chat_messages([{"role": "user", "content": "Hi"}]) == [{"role": "user", "content": "Hi"}]


def test_files_are_parts() -> None:
    image = {"type": "file", "mediaType": "image/png", "url": "data:image/png;base64,AA"}
    audio = {"type": "file", "mediaType": "audio/mpeg", "url": "data:audio/mpeg;base64,BB"}
    pdf = {"type": "file", "mediaType": "application/pdf", "url": "data:application/pdf;base64,CC", "filename": "a.pdf"}
    assert of_user(TEXT, image, audio, pdf) == [
        TEXT,
        {"type": "image_url", "image_url": {"url": image["url"]}},
        {"type": "input_audio", "input_audio": {"data": "BB", "format": "mp3"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": pdf["url"]}},
    ]


def test_a_step_is_a_message_and_the_answers_of_its_tools() -> None:
    answered = {
        "type": "tool-look_up",
        "toolCallId": "call_a",
        "state": "output-available",
        "input": {"q": 1},
        "output": {"found": "é"},
        "callProviderMetadata": {"tailrace": {"extra_content": {"x": 1}, "id": "not this one"}},
    }
    failed = {
        "type": "dynamic-tool",
        "toolName": "other",
        "toolCallId": "call_b",
        "state": "output-error",
        "rawInput": "{",
        "errorText": "No.",
    }
    begun = {"type": "tool-look_up", "toolCallId": "call_c", "state": "input-available", "input": {}}
    thought = {"type": "reasoning", "text": "Hm", "providerMetadata": {"tailrace": {"reasoning_details": [1]}}}
    step = {"type": "step-start"}
    source = {"type": "source-url", "sourceId": "s", "url": "https://a.example"}
    assert of_assistant(
        step, thought, TEXT, answered, failed, begun, source, step, {"type": "text", "text": "So."}
    ) == [
        {
            "reasoning_details": [1],
            "role": "assistant",
            "content": "Hello",
            "tool_calls": [
                {
                    "extra_content": {"x": 1},
                    "id": "call_a",
                    "type": "function",
                    "function": {"name": "look_up", "arguments": '{"q":1}'},
                },
                {"id": "call_b", "type": "function", "function": {"name": "other", "arguments": "{"}},
            ],
        },
        {"role": "tool", "tool_call_id": "call_a", "content": '{"found":"é"}'},
        {"role": "tool", "tool_call_id": "call_b", "content": "No."},
        {"role": "assistant", "content": "So."},
    ]


def test_an_answer_of_which_nothing_is_left_is_left_out() -> None:
    assert of_assistant({"type": "step-start"}, {"type": "reasoning", "text": "Hm"}) == []


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        (None, "messages"),
        ([], "messages"),
        (["Hi"], "messages.0"),
        ([{"role": "tool", "parts": []}], "messages.0.role"),
        ([{"role": "user"}], "messages.0.parts"),
        ([HELLO, {"role": "user", "parts": [7]}], "messages.1.parts.0"),
        ([{"role": "user", "parts": [{"text": "Hi"}]}], "messages.0.parts.0.type"),
        ([{"role": "user", "parts": [{"type": "text"}]}], "messages.0.parts.0.text"),
        (
            [{"role": "user", "parts": [{"type": "file", "mediaType": "text/csv", "url": "https://a.example"}]}],
            "messages.0.parts.0.url",
        ),
        (
            [{"role": "assistant", "parts": [{"type": "tool-x", "state": "output-error"}]}],
            "messages.0.parts.0.toolCallId",
        ),
    ],
)
def test_what_is_no_ui_message_is_refused_by_its_place(messages: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        chat_messages(messages)
    assert refused.value.param == param
    assert refused.value.message.startswith(param)


def test_the_rest_of_the_body_is_for_the_provider() -> None:
    body = {"id": "c", "trigger": "submit-message", "messageId": None, "messages": [HELLO], "temperature": 0.5}
    asked = chat_request(body | {"system": "Be brief."}, default_model="small")
    assert (asked.model, asked.temperature, asked.metadata, asked.model_extra) == ("small", 0.5, {}, {})
    assert [message.role for message in asked.messages] == ["system", "user"]
    assert chat_request(body | {"model": "large"}, default_model="small").model == "large"


def test_without_any_model_the_request_is_refused_with_what_to_do() -> None:
    with pytest.raises(InvalidRequest, match="default_model") as refused:
        chat_request({"messages": [HELLO]}, default_model="")
    assert refused.value.param == "model"


def test_tools_may_be_named_as_the_ai_sdk_names_them() -> None:
    schema = {"type": "object", "properties": {"q": {"type": "string"}}}
    tool = {"type": "function", "function": {"name": "look_up", "description": "Find it.", "parameters": schema}}
    for tools in ({"look_up": {"description": "Find it.", "inputSchema": schema}}, [tool]):
        assert chat_request({"messages": [HELLO], "tools": tools}, default_model="m").tools == [tool]


def test_an_answer_that_goes_on_after_its_tools_keeps_its_message() -> None:
    answer = {"id": "a1", "role": "assistant", "parts": [TEXT]}
    asked = chat_request({"messages": [HELLO, answer], "metadata": {"x": "y"}}, default_model="m")
    assert asked.metadata == {"x": "y", MESSAGE_ID: "a1"}
    assert chat_request({"messages": [answer, HELLO]}, default_model="m").metadata == {}


@pytest.mark.parametrize("chat_id", ["", "x" * 257, 7, []])
def test_an_odd_chat_id_is_refused(chat_id: object) -> None:
    with pytest.raises(InvalidRequest):
        chat_id_of({"id": chat_id})


@pytest.mark.parametrize("text", ["", "x", "1.5", "--1", "٣", "9" * 17, "1e3", " 1"])
def test_a_start_index_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        start_index_of(text)
    assert refused.value.param == "startIndex"


def test_a_start_index_may_be_negative_or_absent() -> None:
    assert [start_index_of(text) for text in (None, "0", "17", "-20")] == [None, 0, 17, -20]
