"""What tells tool calls apart, with all that providers do instead of the book."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.worker.providers.openai.tools import MAX_TOOL_CALLS
from tests.unit.worker.providers.openai.frames import STOP, D, answer_of, tool

__all__ = ()


def f(name: str | None = None, arguments: Any = None, **call: Any) -> dict[str, Any]:
    function = {key: value for key, value in (("name", name), ("arguments", arguments)) if value is not None}
    return {**call, **({"function": function} if function else {})}


@pytest.mark.parametrize("cut", [None, 1])
def test_two_calls_at_one_index_with_an_id_each(cut: int | None) -> None:
    frames = (tool(f("x", "{}", index=0, id="a")), tool(f("y", '{"q":1}', index=0, id="b")), STOP)
    assert answer_of(*frames, cut=cut).calls == [("a", "x", "{}"), ("b", "y", '{"q":1}')]
    both = tool(f("x", "{}", index=0, id="a"), f("y", '{"q":1}', index=0, id="b"))
    assert answer_of(both, STOP, cut=cut).calls == [("a", "x", "{}"), ("b", "y", '{"q":1}')]


def test_calls_in_pieces_at_one_index() -> None:
    frames = (
        tool(f("x", "", index=0, id="a")),
        tool(f(None, '{"q"', index=0)),
        tool(f(None, ":1}", index=0)),
        tool(f("y", "", index=0, id="b")),
        tool(f(None, "{}", index=0)),
    )
    assert answer_of(*frames, STOP).calls == [("a", "x", '{"q":1}'), ("b", "y", "{}")]


@pytest.mark.parametrize("arguments", ["{}", ""])
@pytest.mark.parametrize("second", ["y", "x"])
def test_calls_without_index_and_id_in_one_chunk(arguments: str, second: str) -> None:
    answer = answer_of(tool(f("x", arguments), f(second, arguments)), STOP)
    assert answer.calls == [("call_0", "x", arguments), ("call_1", second, arguments)]


def test_calls_without_index_and_id_one_after_the_other() -> None:
    frames = (tool(f("x", '{"q":1}')), tool(f("x", '{"q":2}')), tool(f("y", "{}")))
    assert [call[1:] for call in answer_of(*frames, STOP).calls] == [("x", '{"q":1}'), ("x", '{"q":2}'), ("y", "{}")]


def test_whole_calls_at_one_index_without_ids() -> None:
    frames = (tool(f("x", "{}", index=0)), tool(f("y", "{}", index=0)))
    assert [call[1:] for call in answer_of(*frames, STOP).calls] == [("x", "{}"), ("y", "{}")]


def test_the_tail_of_the_arguments_at_another_index() -> None:
    frames = (tool(f("x", '{"q":', index=0, id="a")), tool(f(None, '"long', index=1)), tool(f(None, '"}', index=1)))
    assert answer_of(*frames, STOP).calls == [("a", "x", '{"q":"long"}')]


def test_a_call_at_another_index_is_another_call() -> None:
    frames = (tool(f("x", "{", index=0, id="a")), tool(f("y", "{", index=1, id="b")), tool(f(None, "}", index=0)))
    assert answer_of(*frames, tool(f(None, "}", index=1)), STOP).calls == [("a", "x", "{}"), ("b", "y", "{}")]


def test_the_id_first_and_the_name_in_the_next_chunk() -> None:
    frames = (tool(f(index=0, id="a")), tool(f("x", index=0)), tool(f(None, "{}", index=0)))
    assert answer_of(*frames, STOP).calls == [("a", "x", "{}")]
    assert answer_of(tool(f("x", index=0)), tool(f(None, "{}", index=0, id="a")), STOP).calls == [("a", "x", "{}")]


def test_a_name_in_two_pieces() -> None:
    frames = (tool(f("get_", index=0, id="a")), tool(f("weather", index=0)), tool(f(None, "{}", index=0)))
    assert answer_of(*frames, STOP).calls == [("a", "get_weather", "{}")]
    two = (tool(f("get_", "", index=0, id="a")), tool(f("weather", "{}", index=0)))
    assert answer_of(*two, STOP).calls == [("a", "get_weather", "{}")]


def test_a_name_that_is_said_with_each_piece_is_one_name() -> None:
    frames = [tool(f("x", piece, index=0, id="a")) for piece in ("", '{"q":', "{}", "}")]
    assert answer_of(*frames, STOP).calls == [("a", "x", '{"q":{}}')]
    frames = [tool(f("x", piece, index=0)) for piece in ("", '{"q":', "{}", "}")]
    assert answer_of(*frames, STOP).calls == [("call_0", "x", '{"q":{}}')]


def test_an_id_of_its_own_for_each_piece_is_one_call() -> None:
    """Old versions of vLLM make one up for every delta."""
    frames = (
        tool(f("x", "", index=0, id="a")),
        tool(f(None, '{"q"', index=0, id="b")),
        tool(f(None, ":1}", index=0, id="c")),
    )
    assert answer_of(*frames, STOP).calls == [("a", "x", '{"q":1}')]


@pytest.mark.parametrize("arguments", [{"q": {"r": [1]}}, {}, {"q": "é\u2028"}])
def test_arguments_as_an_object(arguments: dict[str, Any]) -> None:
    ((_, name, told),) = answer_of(tool(f("x", arguments, index=0, id="a")), STOP).calls
    assert (name, json.loads(told)) == ("x", arguments)


def test_an_object_that_cannot_be_written_plainly_is_written_all_the_same() -> None:
    call = b'{"function":{"name":"x","arguments":{"q":"\\ud83d"}}}'
    raw = b'data: {"choices":[{"index":0,"delta":{"tool_calls":[%b]}}]}\n\n' % call
    assert answer_of(raw, STOP).calls == [("call_0", "x", '{"q":"\\ud83d"}')]


@pytest.mark.parametrize("index", ["0", "", None])
def test_an_index_that_is_no_number(index: Any) -> None:
    frames = (tool(f("x", "{", index=index, id="a")), tool(f(None, "}", index=index)))
    assert answer_of(*frames, STOP).calls == [("a", "x", "{}")]


def test_numbers_as_ids() -> None:
    assert answer_of(tool(f("x", "{}", index=0, id=7)), STOP).calls == [("7", "x", "{}")]


def test_no_phantoms() -> None:
    frames = (
        tool(f("", "", index=0, id="")),
        tool(f("x", "{}", index=1, id="a")),
        tool(f("", "", index=1, id="")),
        tool(f(None, None, index=2, id="b")),
        tool({"index": 3}),
    )
    answer = answer_of(*frames, STOP)
    assert answer.calls == [("a", "x", "{}")]
    assert answer.end == "stop"


def test_a_call_without_arguments_is_told_before_what_follows() -> None:
    answer = answer_of(tool(f("x", "", index=0, id="a")), D(content="b"), D(content="c"), STOP)
    assert [event.kind for event in answer.events] == ["tool_call", "text", "text"]
    answer = answer_of(tool(f("x", "", index=0, id="a")), tool(f("y", "", index=1, id="b")), STOP)
    assert answer.calls == [("a", "x", ""), ("b", "y", "")]


def test_the_oldest_form_of_the_api() -> None:
    frames = (D(function_call={"name": "x", "arguments": ""}), D(function_call={"arguments": "{}"}))
    assert answer_of(*frames, STOP).calls == [("call_0", "x", "{}")]


def test_custom_tools() -> None:
    assert answer_of(
        tool({"index": 0, "id": "a", "type": "custom", "custom": {"name": "x", "input": "ls"}}), STOP
    ).calls == [("a", "x", "ls")]


def test_a_single_call_without_its_list() -> None:
    assert answer_of(D(tool_calls=f("x", "{}", index=0, id="a")), STOP).calls == [("a", "x", "{}")]


def test_there_is_a_limit() -> None:
    calls = [f("x", "{}", id=f"c{n}") for n in range(MAX_TOOL_CALLS + 1)]
    assert len(answer_of(tool(*calls), STOP).calls) == 0
    assert len(answer_of(tool(*calls[:-1]), STOP).calls) == MAX_TOOL_CALLS


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["x", "y", "get_x"]),
        st.dictionaries(st.text(max_size=3), st.text(max_size=5) | st.integers(0, 9)),
    )
)


@given(CALLS, st.integers(1, 7), st.booleans(), st.booleans())
def test_calls_by_the_book_in_pieces(
    calls: list[tuple[str, dict[str, Any]]], size: int, repeats: bool, ascii_: bool
) -> None:
    frames = []
    for index, (name, values) in enumerate(calls):
        arguments = json.dumps(values, ensure_ascii=ascii_)
        pieces = ["", *(arguments[i : i + size] for i in range(0, len(arguments), size))]
        for number, piece in enumerate(pieces):
            is_named = repeats or number == 0
            identity = {"id": f"c{index}"} if is_named else {}
            frames.append(tool(f(name if is_named else None, piece, index=index, **identity)))
    told = answer_of(*frames, STOP).calls
    assert [(call_id, name, json.loads(arguments)) for call_id, name, arguments in told] == [
        (f"c{index}", name, values) for index, (name, values) in enumerate(calls)
    ]


@given(CALLS)
def test_whole_calls_without_any_identity(calls: list[tuple[str, dict[str, Any]]]) -> None:
    frames = [tool(f(name, json.dumps(values), index=0)) for name, values in calls]
    told = answer_of(*frames, STOP).calls
    assert [(name, json.loads(arguments)) for _, name, arguments in told] == calls
