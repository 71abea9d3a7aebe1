"""Continuing an interrupted answer: what is asked, and what is left to say. The seam is in `test_joining.py`."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from services.worker.attempts.continuation import (
    Capability,
    Continuing,
    allows_continuation,
    continuing_fields,
    continuing_messages,
    emitted_tokens,
    is_continuable,
    less_tokens,
)
from services.worker.attempts.joining import Joiner
from services.worker.providers.provider import CompletionRequest, Provider
from shared.log.events import Event, delta, tool_call
from shared.settings.providers import ProviderSettings
from tests.support.script import Script, expected_text, prefix_of, script_of, steps

__all__ = ()

ASK = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "tell me"}]
TEXT = {"type": "text", "text": "Once upon"}
MORE = {"type": "text", "text": " a time"}
THOUGHT = {"type": "reasoning", "text": "hm"}
REFUSAL = {"type": "refusal", "text": "no"}
CALL = {"type": "tool_call", "index": 0, "id": "c", "name": "f", "arguments": "{}"}
EMPTY = {"type": "text", "text": ""}


def test_a_prefill_ends_with_what_was_said() -> None:
    assert continuing_messages(ASK, [THOUGHT, TEXT, MORE], "prefill") == [
        *ASK,
        {"role": "assistant", "content": "Once upon a time"},
    ]


def test_a_message_asks_to_go_on() -> None:
    messages = continuing_messages(ASK, [TEXT], "message")
    assert messages is not None
    assert messages[:3] == [*ASK, {"role": "assistant", "content": "Once upon"}]
    assert [message["role"] for message in messages[3:]] == ["user"]


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [EMPTY],
        [THOUGHT],
        [TEXT, THOUGHT],
        [CALL],
        [TEXT, CALL],
        [CALL, TEXT],
        [REFUSAL],
        [REFUSAL, TEXT],
        [THOUGHT, EMPTY],
    ],
    ids=lambda parts: "-".join(part["type"] for part in parts),
)
@pytest.mark.parametrize("capability", ["prefill", "message"])
def test_what_cannot_be_taken_up_again_starts_over(parts: list[dict[str, Any]], capability: Capability) -> None:
    assert continuing_messages(ASK, parts, capability) is None


def test_a_provider_that_cannot_continue_starts_over() -> None:
    assert continuing_messages(ASK, [TEXT], "none") is None


def test_what_was_asked_is_left_as_it_was() -> None:
    ask = [dict(message) for message in ASK]
    continuing_messages(ask, [TEXT], "message")
    assert ask == ASK


EVERY = ["prefill", "prefix", "partial", "continue_final_message", "message"]


@pytest.mark.parametrize("capability", EVERY)
def test_the_scripted_provider_understands_every_way(capability: Capability) -> None:
    script = Script("k", repeat=30 if capability == "message" else 0)
    text = expected_text(script)
    messages = continuing_messages(script.messages(), [{"type": "text", "text": text[:70]}], capability)
    assert messages is not None
    assert script_of(messages) == script
    said = prefix_of(messages)
    assert said == (text[:70].rstrip() if capability == "prefill" else text[:70])
    joiner = Joiner(text[:70], is_told=capability == "message")
    rest = b"".join(joiner.feed(step.text.encode()) for step in steps(script, said=text[:70])) + joiner.finish()
    assert text[:70].encode() + rest == text.encode()


@pytest.mark.parametrize(
    ("capability", "turn", "fields"),
    [
        ("prefill", {}, {}),
        ("prefix", {"prefix": True}, {}),
        ("partial", {"partial": True}, {}),
        ("continue_final_message", {}, {"continue_final_message": True, "add_generation_prompt": False}),
    ],
)
def test_each_spelling(capability: Capability, turn: dict[str, bool], fields: dict[str, bool]) -> None:
    messages = continuing_messages(ASK, [TEXT, MORE], capability)
    assert messages == [*ASK, {"role": "assistant", "content": "Once upon a time", **turn}]
    assert continuing_fields(capability) == fields


def test_a_prefill_does_not_end_in_white_space() -> None:
    ending = {"type": "text", "text": "One:\n\n"}
    assert (continuing_messages(ASK, [ending], "prefill") or [])[-1] == {"role": "assistant", "content": "One:"}
    assert (continuing_messages(ASK, [ending], "prefix") or [])[-1]["content"] == "One:\n\n"
    assert continuing_messages(ASK, [{"type": "text", "text": " \n"}], "prefill") is None


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("Es war einmal ein Kö", "… Es war einmal ein Kö …"),
        ("昔々あるところに", "… 昔々あるところに …"),
        ("a\n\nb  c\n", "… a b c …"),
        ("x" * 500, f"… {'x' * 80} …"),
        (f"first {'word ' * 40}last", f"… {'word ' * 15}last …"),
    ],
)
def test_the_closing_turn_speaks_the_language_of_the_answer(said: str, words: str) -> None:
    messages = continuing_messages(ASK, [{"type": "text", "text": said}], "message")
    assert messages is not None
    assert messages[-1] == {"role": "user", "content": words}


def test_the_closing_turn_is_the_operator_s_to_word() -> None:
    for go_on, content in (("weiter {last_words} {x}", "weiter Once upon {x}"), ("続けて", "続けて")):
        messages = continuing_messages(ASK, [TEXT], "message", go_on=go_on)
        assert messages is not None
        assert messages[-1]["content"] == content


@pytest.mark.parametrize(
    ("options", "allowed"),
    [
        ({}, True),
        ({"response_format": None, "tool_choice": None}, True),
        ({"response_format": {"type": "text"}, "tool_choice": "auto", "tools": [{}]}, True),
        ({"tool_choice": "none"}, True),
        ({"response_format": {"type": "json_object"}}, False),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, False),
        ({"response_format": "json"}, False),
        ({"tool_choice": "required"}, False),
        ({"tool_choice": {"type": "function", "function": {"name": "f"}}}, False),
    ],
)
def test_what_is_good_only_whole_is_never_continued(options: dict[str, Any], allowed: bool) -> None:
    assert allows_continuation(options) is allowed
    assert is_continuable([TEXT], options) is allowed


@pytest.mark.parametrize(
    "parts", [[TEXT, CALL], [CALL], [TEXT, CALL, TEXT], [THOUGHT], [], [{"type": "text", "text": " "}]]
)
def test_half_a_call_or_no_text_is_never_continued(parts: list[dict[str, Any]]) -> None:
    assert not is_continuable(parts)


# How much may still be said


@pytest.mark.parametrize(
    ("options", "emitted", "left"),
    [
        ({}, 50, {}),
        ({"max_tokens": 100, "seed": 1}, 30, {"max_tokens": 70, "seed": 1}),
        ({"max_completion_tokens": 100}, 99, {"max_completion_tokens": 1}),
        ({"max_tokens": 100, "max_completion_tokens": 40}, 30, {"max_tokens": 70, "max_completion_tokens": 10}),
        ({"max_tokens": None}, 30, {"max_tokens": None}),
        ({"max_tokens": 100}, 100, None),
        ({"max_tokens": 10}, 100, None),
        ({"max_tokens": 100, "max_completion_tokens": 10}, 30, None),
    ],
)
def test_the_limit_is_less_by_what_was_said(options: dict[str, Any], emitted: int, left: dict[str, Any] | None) -> None:
    assert less_tokens(options, emitted) == left


@pytest.mark.parametrize(
    ("texts", "reported", "tokens"),
    [
        (["x" * 400], [77], 77),
        (["x" * 400], [70, 7], 77),
        (["x" * 400], [], 100),
        (["x" * 400], [None], 100),
        (["x" * 400], [70, None], 100),
        (["x" * 401], [None], 101),
        (["漢字かな"], [None], 4),
        (["abcd", "漢"], [None], 2),
    ],
)
def test_what_was_said_is_what_was_reported_or_an_estimate(
    texts: list[str], reported: list[int | None], tokens: int
) -> None:
    assert emitted_tokens([{"type": "text", "text": text} for text in texts], reported) == tokens


def test_reasoning_was_paid_for_too() -> None:
    assert emitted_tokens([{"type": "reasoning", "text": "x" * 40}, TEXT], [None]) == 10 + 3


# One continuation


class Asked:
    """A provider of which only the settings are looked at."""

    def __init__(self, continuation: str, text: str | None = None) -> None:
        fields: dict[str, Any] = {"continuation": continuation, "continuation_text": text}
        self.settings = ProviderSettings(name="p", base_url="http://localhost/v1", models=["*"], **fields)


def asked(continuing: Continuing, continuation: str, text: str | None = None) -> CompletionRequest:
    provider = cast("Provider", Asked(continuation, text))
    return continuing.request_to(provider, CompletionRequest("m", ASK, {"seed": 1}))


def text_of(events: list[Event]) -> str:
    return b"".join(event.value for event in events if event.kind == "text").decode()


def test_a_request_says_what_its_provider_understands() -> None:
    request = asked(Continuing([TEXT]), "continue_final_message")
    assert request.extra == {"continue_final_message": True, "add_generation_prompt": False}
    assert request.options == {"seed": 1}
    assert asked(Continuing([TEXT]), "message", "weiter").messages[-1] == {"role": "user", "content": "weiter"}


@pytest.mark.parametrize("capability", EVERY)
def test_an_echo_is_dropped_whatever_was_asked(capability: str) -> None:
    said = "Once upon a time there was a king"
    continuing = Continuing([THOUGHT, {"type": "text", "text": said}])
    asked(continuing, capability)
    events = [*continuing.trimmed([delta("text", said)]), *continuing.trimmed([delta("text", " who slept")])]
    assert text_of([*events, *continuing.rest()]) == " who slept"


def test_white_space_of_a_prefill_comes_once() -> None:
    for reply in (["\n\nOne"], ["One"], ["\n", "\nOne"]):
        continuing = Continuing([{"type": "text", "text": "A list of all of it:\n\n"}])
        asked(continuing, "prefill")
        events = [event for text in reply for event in continuing.trimmed([delta("text", text)])]
        assert text_of([*events, *continuing.rest()]) == "One"


def test_reasoning_before_the_text_does_not_end_the_search() -> None:
    continuing = Continuing([{"type": "text", "text": "Once upon a time there was a king"}])
    asked(continuing, "message")
    events: list[Event] = []
    for event in (delta("reasoning", "hm"), delta("text", "there was a king"), delta("text", " who slept")):
        events += continuing.trimmed([event])
    assert [event.kind for event in events] == ["reasoning", "text"]
    assert text_of([*events, *continuing.rest()]) == " who slept"


def test_what_is_held_back_comes_before_what_follows() -> None:
    continuing = Continuing([{"type": "text", "text": "one two three four five six"}])
    asked(continuing, "message")
    events = [
        *continuing.trimmed([delta("text", "two")]),
        *continuing.trimmed([tool_call(0, "{}", call_id="c", name="f")]),
    ]
    assert [event.kind for event in events] == ["text", "tool_call"]


def test_parts_of_text_are_one_text() -> None:
    continuing = Continuing([TEXT, THOUGHT, MORE])
    messages: list[Mapping[str, Any]] = list(asked(continuing, "prefix").messages)
    assert messages[-1]["content"] == "Once upon a time"
