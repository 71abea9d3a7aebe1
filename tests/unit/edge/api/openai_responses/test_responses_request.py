"""Requests of the Responses API, translated: nothing that was said is lost, and what has no place is named."""

from typing import Any

import pytest

from services.edge.api.openai_responses.request import responses_request, wants
from shared.errors import InvalidRequest

__all__ = ()

STREAM = "0b5c1d0f3a7e4c1c9d2f8a6b4e0d7c35"


def asked(*, references: dict[str, dict[str, Any]] | None = None, **fields: Any) -> dict[str, Any]:
    body = {"model": "m", "input": "Hi"} | fields
    return responses_request(body, references or {}).model_dump(exclude_unset=True)


def messages(*items: Any, **references: dict[str, Any]) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = asked(input=list(items), references=references)["messages"]
    return said


def test_a_plain_question_is_one_message() -> None:
    assert asked() == {"model": "m", "messages": [{"role": "user", "content": "Hi"}]}


def test_instructions_speak_first() -> None:
    assert asked(instructions="Be brief")["messages"][0] == {"role": "system", "content": "Be brief"}


def test_items_are_messages_with_or_without_their_type() -> None:
    assert messages(
        {"role": "developer", "content": "Be brief"},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "See"}]},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "this"},
                {"type": "input_image", "image_url": "data:image/png;base64,AA", "detail": "low"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"},
            ],
        },
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [
                {"type": "output_text", "text": "I ", "annotations": []},
                {"type": "output_text", "text": "see"},
            ],
        },
    ) == [
        {"role": "developer", "content": "Be brief"},
        {"role": "user", "content": "See"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "this"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA", "detail": "low"}},
                {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA"}},
            ],
        },
        {"role": "assistant", "content": "I see"},
    ]


def test_calls_belong_to_the_message_before_them_and_their_outputs_follow() -> None:
    call = {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}
    other = {"type": "function_call", "call_id": "c2", "name": "g", "arguments": ""}
    text = [{"type": "input_text", "text": "4"}, {"type": "input_text", "text": "2"}]
    said = messages(
        {"role": "assistant", "content": "Let me see."},
        call,
        other,
        {"type": "function_call_output", "call_id": "c1", "output": text},
        {"type": "function_call_output", "call_id": "c2", "output": "no"},
        call | {"call_id": "c3"},
    )
    first = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
    assert said == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "tool_calls": [first, {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "42"},
        {"role": "tool", "tool_call_id": "c2", "content": "no"},
        {"role": "assistant", "content": None, "tool_calls": [first | {"id": "c3"}]},
    ]


def test_an_item_that_is_only_named_is_the_item_itself_and_reasoning_is_left_out() -> None:
    named = f"msg_{STREAM}_1"
    item = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Before"}]}
    references = [{"type": "item_reference", "id": f"rs_{STREAM}_0"}, {"type": "item_reference", "id": named}]
    assert messages(*references, **{named: item}) == [{"role": "assistant", "content": "Before"}]
    with pytest.raises(InvalidRequest) as refused:
        messages(*references)
    assert refused.value.param == "input.1.id"


def test_options_have_the_names_of_the_chat_api() -> None:
    schema = {"name": "answer", "schema": {"type": "object"}, "strict": True}
    translated = asked(
        max_output_tokens=9,
        reasoning={"effort": "low", "summary": "auto"},
        text={"format": {"type": "json_schema", **schema}, "verbosity": "low"},
        tools=[{"type": "function", "name": "f", "description": "d", "parameters": {"type": "object"}, "strict": None}],
        tool_choice={"type": "function", "name": "f"},
        temperature=0.5,
        some_new_option={"a": 1},
    )
    del translated["messages"], translated["model"]
    function = {"name": "f", "description": "d", "parameters": {"type": "object"}}
    assert translated == {
        "max_completion_tokens": 9,
        "reasoning_effort": "low",
        "verbosity": "low",
        "response_format": {"type": "json_schema", "json_schema": schema},
        "tools": [{"type": "function", "function": function}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "temperature": 0.5,
        "some_new_option": {"a": 1},
    }


def test_fields_that_ask_for_nothing_are_taken_and_go_no_further() -> None:
    nothing: dict[str, Any] = {
        "background": True,
        "include": ["reasoning.encrypted_content"],
        "store": False,
        "stream": True,
        "stream_options": {"include_obfuscation": False},
        "truncation": "disabled",
        "top_logprobs": 0,
        "previous_response_id": None,
        "text": {"format": {"type": "text"}},
        "tools": [],
        "tool_choice": "auto",
    }
    assert asked(**nothing) == asked()


@pytest.mark.parametrize("value", ["yes", 1, []])
def test_a_switch_is_true_or_false(value: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        wants({"stream": value}, "stream")
    assert refused.value.param == "stream"


@pytest.mark.parametrize(
    ("items", "param"),
    [
        (["x"], "input.0"),
        ([{"type": "message", "role": "user"}], "input.0.content"),
        ([{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}], "input.0.content.0"),
        ([{"role": "user", "content": [None]}], "input.0.content.0"),
        ([{"type": "function_call", "name": "f"}], "input.0.call_id"),
        ([{"type": "function_call_output", "call_id": "c", "output": 3}], "input.0.output"),
        ([{"type": "item_reference"}], "input.0.id"),
        ([{"type": ["x"]}], "input.0.type"),
        ({}, "input"),
        (None, "input"),
    ],
)
def test_an_item_that_has_no_place_is_named(items: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        asked(input=items)
    assert refused.value.param == param
