"""Continuing an interrupted answer: what is asked, and that the seam neither doubles nor loses a byte."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from services.worker.attempts.continuation import (
    MAX_OVERLAP_BYTES,
    MIN_OVERLAP_BYTES,
    Capability,
    OverlapTrimmer,
    continuing_messages,
)
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


@pytest.mark.parametrize("capability", ["prefill", "message"])
def test_the_scripted_provider_understands_both_ways(capability: Capability) -> None:
    script = Script("k", repeat=30)
    text = expected_text(script)
    messages = continuing_messages(script.messages(), [{"type": "text", "text": text[:70]}], capability)
    assert messages is not None
    assert script_of(messages) == script
    assert prefix_of(messages) == text[:70]
    trimmer = OverlapTrimmer(text[:70].encode())
    rest = b"".join(trimmer.feed(step.text.encode()) for step in steps(script, said=text[:70])) + trimmer.finish()
    assert text[:70].encode() + rest == text.encode()


# Trimming


def trimmed(old: str, deltas: list[str], **bounds: int) -> str:
    trimmer = OverlapTrimmer(old.encode(), **bounds)
    parts = []
    for delta in deltas:
        parts.append(trimmer.feed(delta.encode()))
        assert trimmer.held_bytes <= bounds.get("max_bytes", MAX_OVERLAP_BYTES)
    return b"".join([*parts, trimmer.finish()]).decode()


def slow_trimmed(old: str, new: str, *, min_bytes: int, max_bytes: int) -> str:
    """The longest prefix of the new text, within the bounds, that the old text ends with."""
    ends = [n for n in range(len(new) + 1) if min_bytes <= len(new[:n].encode()) <= max_bytes and old.endswith(new[:n])]
    return new[max(ends, default=0) :]


def cut(text: str, places: list[int]) -> list[str]:
    cuts = sorted({min(place, len(text)) for place in places} | {0, len(text)})
    return [text[start:end] for start, end in pairwise(cuts)]


# Few letters, so that texts overlap by chance, and in more ways than one.
TEXTS = st.text("abé漢", max_size=30)
PLACES = st.lists(st.integers(0, 40), max_size=6)


@given(TEXTS, TEXTS, PLACES, st.integers(1, 8), st.integers(8, 24))
@example("abab", "ababa", [1, 2, 3, 4], 1, 8)
@example("aab", "aabaab", [3], 1, 8)
def test_the_longest_overlap_is_dropped_however_the_text_comes(
    old: str, new: str, places: list[int], min_bytes: int, max_bytes: int
) -> None:
    bounds = {"min_bytes": min_bytes, "max_bytes": max_bytes}
    assert trimmed(old, cut(new, places), **bounds) == slow_trimmed(old, new, **bounds)


@given(st.text(max_size=80), st.text(max_size=80), st.integers(0, 200), PLACES)
def test_a_repetition_leaves_no_trace(said: str, rest: str, back: int, places: list[int]) -> None:
    repeated = said[-back:] if back else ""
    assume(not repeated or len(repeated.encode()) >= MIN_OVERLAP_BYTES)
    # The text itself must not happen to repeat itself at the seam, which no trimmer could tell from a repetition.
    assume(slow_trimmed(said, repeated + rest, min_bytes=MIN_OVERLAP_BYTES, max_bytes=MAX_OVERLAP_BYTES) == rest)
    assert trimmed(said, cut(repeated + rest, places)) == rest


def test_a_short_repetition_is_meant() -> None:
    assert trimmed("ha ha ", ["ha ", "ha!"]) == "ha ha!"


def test_new_text_is_not_held_back() -> None:
    trimmer = OverlapTrimmer(b"the quick brown fox jumps over")
    assert trimmer.feed(b" the lazy") == b" the lazy"
    assert trimmer.feed(b"the quick brown fox") == b"the quick brown fox"


def test_half_a_repetition_is_not_lost() -> None:
    """The new text ends while it still repeats: then it was no repetition of the end."""
    assert trimmed("one two three four five six", ["two three", " four"]) == "two three four"


@pytest.mark.parametrize("old", ["", "short"])
def test_there_is_nothing_to_repeat(old: str) -> None:
    assert trimmed(old, [old, "x"]) == f"{old}x"
