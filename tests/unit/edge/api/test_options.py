"""Options of a request: which are known, which go to the provider, which are refused."""

from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from services.edge.api.options import check_options, for_the_provider, unknown_options
from services.edge.api.schemas import CreateStream
from services.worker.providers.openai.request import OPTIONS
from shared.errors import InvalidBody
from shared.settings.providers import ProviderSettings

__all__ = ()

BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


def wanted(**options: Any) -> CreateStream:
    return CreateStream.model_validate({**BODY, **options})


def entry(**fields: Any) -> ProviderSettings:
    return ProviderSettings(name="p", base_url="http://localhost/v1", models=["*"], **fields)


def passed_on(**options: Any) -> dict[str, Any]:
    fields: dict[str, Any] = orjson.loads(for_the_provider(wanted(**options)))
    return {name: value for name, value in fields.items() if name not in BODY}


PASTED = {
    "stream": True,
    "stream_options": {"include_usage": True},
    "user": "user-1",
    "n": 1,
    "logprobs": False,
    "top_logprobs": None,
    "logit_bias": {"50256": -100},
    "modalities": ["text"],
    "audio": None,
    "stop": None,
    "temperature": 0.7,
    "top_p": 1,
    "seed": 7,
    "store": False,
    "service_tier": "auto",
    "reasoning_effort": "low",
    "verbosity": "low",
    "prompt_cache_key": "k",
    "safety_identifier": "s",
    "tools": [],
    "tool_choice": "auto",
    "parallel_tool_calls": False,
    "response_format": {"type": "text"},
    "metadata": {"a": "b"},
}


def test_a_pasted_body_of_the_openai_api_is_taken() -> None:
    check_options(wanted(**PASTED), [entry()])
    left_out = {"stream", "stream_options", "n", "logprobs", "top_logprobs", "modalities", "audio", "stop", "metadata"}
    assert passed_on(**PASTED) == {name: value for name, value in PASTED.items() if name not in left_out}


def test_what_the_edge_knows_the_worker_passes_on() -> None:
    ours = {"model", "messages", "metadata", "on_interruption", "n", "stream", "stream_options"}
    assert CreateStream.model_fields.keys() - ours == OPTIONS


def test_null_is_nothing() -> None:
    assert passed_on(temperature=None, tools=None, anything=None) == {}
    check_options(wanted(anything=None), [entry()])


def test_a_null_inside_of_a_message_stays() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "c"}]}
    body = CreateStream.model_validate({"model": "m", "messages": [message]})
    assert orjson.loads(for_the_provider(body))["messages"] == [message]


@pytest.mark.parametrize(
    "options",
    [
        {"n": 2},
        {"n": 0},
        {"stream": "maybe"},
        {"user": 7},
        {"user": "x" * 2000},
        {"logit_bias": {"a": "b"}},
        {"store": "perhaps"},
        {"top_k": 0.5},
        {"stream_options": "all"},
        {"service_tier": ["auto"]},
    ],
)
def test_what_is_known_is_looked_at(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        wanted(**options)


@pytest.mark.parametrize(
    "options",
    [
        {"top_a": 0.1},
        {"logprobs": True},
        {"modalities": ["text", "audio"]},
        {"functions": [{}]},
        {"base_url": "http://x"},
    ],
)
def test_what_is_unknown_is_refused_by_its_name_and_that_of_the_setting(options: dict[str, Any]) -> None:
    with pytest.raises(InvalidBody) as caught:
        check_options(wanted(**options), [entry(), entry()])
    (name,) = options
    assert caught.value.message.startswith(f"{name}: ")
    assert "allow_options" in caught.value.message
    assert "[[providers]]" in caught.value.message


@pytest.mark.parametrize("allowed", ["*", ["*"], ["other", "top_a"]])
def test_what_an_entry_allows_is_passed_on(allowed: object) -> None:
    check_options(wanted(top_a=1), [entry(), entry(allow_options=allowed)])
    assert passed_on(top_a=1, min_p=0) == {"top_a": 1, "min_p": 0}


def test_one_provider_has_to_allow_them_all() -> None:
    with pytest.raises(InvalidBody, match="top_a"):
        check_options(wanted(top_a=1, min_p=0), [entry(allow_options=["top_a"]), entry(allow_options=["min_p"])])
    with pytest.raises(InvalidBody, match="min_p"):
        check_options(wanted(top_a=1, min_p=0), [entry(allow_options=["top_a"])])


def test_a_long_name_is_cut() -> None:
    with pytest.raises(InvalidBody) as caught:
        check_options(wanted(**{"x" * 5000: 1}), [entry()])
    assert len(caught.value.message) < 300


def test_nothing_is_unknown_of_a_plain_request() -> None:
    assert unknown_options(wanted(temperature=1)) == []


@pytest.mark.parametrize("taken", ["model", "messages", "stream", "n"])
def test_an_entry_cannot_take_the_place_of_the_request(taken: str) -> None:
    with pytest.raises(ValidationError, match=taken):
        entry(extra_body={taken: 1})
