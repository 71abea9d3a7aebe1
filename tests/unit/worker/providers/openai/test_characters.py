"""Characters cut in two by the provider: joined, or U+FFFD, and never the end of the answer."""

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.worker.providers.openai.frames import STOP, D, answer_of, tool

__all__ = ()

NAMES = ["content", "reasoning", "refusal"]


def raw(text: bytes, name: str = "content") -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"%b":"%b"},"finish_reason":null}]}\n\n' % (name.encode(), text)


def raw_arguments(text: bytes) -> bytes:
    function = b'{"index":0,"id":"a","function":{"name":"f","arguments":"%b"}}' % text
    return b'data: {"choices":[{"index":0,"delta":{"tool_calls":[%b]}}]}\n\n' % function


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", [1, 2, 3])
@pytest.mark.parametrize("cut", [None, 1])
def test_raw_bytes_over_two_deltas(name: str, place: int, cut: int | None) -> None:
    emoji = "🎉".encode()
    frames = (raw(b"x", name), raw(b"a" + emoji[:place], name), raw(emoji[place:] + b"b", name), raw(b"c", name))
    answer = answer_of(*frames, STOP, cut=cut)
    assert ("".join(text for _, text in answer.texts), answer.end) == ("xa🎉bc", "stop")


def test_a_byte_a_delta() -> None:
    frames = [raw(bytes([byte])) for byte in "é漢🎉".encode()]
    assert answer_of(*frames, STOP).texts == [("text", "é漢🎉")]
    assert answer_of(*map(raw_arguments, (bytes([byte]) for byte in "é漢🎉".encode())), STOP).calls == [
        ("a", "f", "é漢🎉")
    ]


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        ([b"a\xff", b"b"], "a\ufffdb"),
        ([b"a\xf0\x9f", b"b"], "a\ufffdb"),
        ([b"a\xf0\x9f"], "a\ufffd"),
        ([b"\x8e\x89b"], "\ufffd\ufffdb"),
        ([b"\\ud83d\xff"], "\ufffd\ufffd"),
        ([b"\\ud83d", b"\xff"], "\ufffd\ufffd"),
        ([b"\xf0\x9f", b"\\ude00"], "\ufffd\ufffd"),
        ([b"\xed\xa0\xbd"], "\ufffd\ufffd\ufffd"),
    ],
)
def test_what_cannot_be_joined_is_replaced(pieces: list[bytes], text: str) -> None:
    answer = answer_of(*map(raw, pieces), STOP)
    assert (answer.texts, answer.end) == ([("text", text)], "stop")


@pytest.mark.parametrize("name", NAMES)
def test_a_surrogate_pair_over_two_deltas(name: str) -> None:
    for low in range(0xDC00, 0xE000, 0x7F):
        halves = (raw(b"a\\ud83d", name), raw(b"\\u%x" % low + b"b", name))
        want = "a" + ("\ud83d" + chr(low)).encode("utf-16-le", "surrogatepass").decode("utf-16-le") + "b"
        assert "".join(text for _, text in answer_of(raw(b"x", name), *halves, STOP).texts) == "x" + want


def test_half_a_pair_before_something_else() -> None:
    answer = answer_of(raw(b"a\\ud83d"), D(reasoning="r"), raw(b"\\ude00b"), STOP)
    assert answer.texts == [("text", "a\ufffd"), ("reasoning", "r"), ("text", "\ufffdb")]
    answer = answer_of(raw(b"a\\ud83d"), tool({"index": 0, "function": {"name": "f", "arguments": "{}"}}), STOP)
    assert answer.texts == [("text", "a\ufffd")]
    assert answer.events[-1].kind == "tool_call"


def test_a_pair_over_two_pieces_of_arguments() -> None:
    halves = (raw_arguments(b"\\ud83d"), raw_arguments(b"\\ude00"))
    assert answer_of(*halves, STOP).calls == [("a", "f", "😀")]
    assert answer_of(halves[0], STOP).calls == [("a", "f", "\ufffd")]


def test_a_usual_chunk_may_follow_half_a_character() -> None:
    frames = (raw(b"a"), raw(b"b"), raw(b"c\xf0\x9f"), raw(b"d"), raw(b"e\\ud83d"), raw(b"f"), raw(b"g"))
    assert answer_of(*frames, STOP).texts == [("text", "abc\ufffdde\ufffdfg")]


@given(st.text(max_size=12), st.lists(st.integers(0, 60), max_size=6))
def test_any_text_cut_at_any_byte(text: str, cuts: list[int]) -> None:
    body = text.encode().translate(None, b'"\\' + bytes(range(32)))
    places = sorted({min(place, len(body)) for place in cuts} | {0, len(body)})
    frames = [raw(body[start:end]) for start, end in pairwise(places)]
    assert "".join(said for _, said in answer_of(*frames, STOP).texts) == body.decode()


@given(st.text(max_size=12), st.lists(st.integers(0, 30), max_size=6))
def test_any_text_cut_at_any_utf_16_unit(text: str, cuts: list[int]) -> None:
    units = text.encode("utf-16-be")
    places = sorted({2 * min(place, len(units) // 2) for place in cuts} | {0, len(units)})
    halves = [units[start:end].decode("utf-16-be", "surrogatepass") for start, end in pairwise(places)]
    frames = [raw(json.dumps(half)[1:-1].encode()) for half in halves]
    assert "".join(said for _, said in answer_of(*frames, STOP).texts) == text
