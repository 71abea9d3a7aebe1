"""The SSE decoder against a slow parser that is obviously right, for any bytes cut anywhere."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.errors import ClientError
from tailrace.sse import MAX_LINE_BYTES, Frame, SseDecoder

__all__ = ()

DATA = ("data: a", "data:b", "data", "data:  c", "data: d:e", " data: g", "data: ünïcödé 🌊 \u2028")
OTHER = ("id: 1-1", "id:", "id: x\0y", "retry: 5", "retry: x", ": hb", "event: z", "unknown: f", "", "")
LINES = st.sampled_from((*DATA, *OTHER))
ENDS = st.sampled_from(["\n", "\r", "\r\n"])


def slowly(text: str) -> list[Frame]:
    """The rules of the standard, one at a time, on the whole text."""
    frames, data, event_id = [], list[str](), None
    *lines, _ = re.split("\r\n|\r|\n", text.removeprefix("\ufeff"))
    for line in lines:
        name, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if line == "":
            if data:
                frames.append(Frame(event_id, "\n".join(data).encode()))
            data, event_id = [], None
        elif name == "data":
            data.append(value)
        elif name == "id" and "\0" not in value:
            event_id = value
    return frames


@given(st.lists(st.tuples(LINES, ENDS)), st.lists(st.integers(0, 400)), st.booleans())
def test_any_bytes_cut_anywhere(lines: list[tuple[str, str]], cuts: list[int], with_bom: bool) -> None:
    text = ("\ufeff" if with_bom else "") + "".join(line + end for line, end in lines)
    raw = text.encode()
    points = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    decoder = SseDecoder()
    found = [each for start, stop in pairwise(points) for each in decoder.feed(raw[start:stop])]
    assert found == slowly(text)


def test_the_last_retry_is_remembered() -> None:
    decoder = SseDecoder()
    decoder.feed(b"retry: 5\n\nretry: 250\nretry: soon\n\n")
    assert decoder.retry_ms == 250


def test_an_event_without_its_blank_line_is_not_dispatched() -> None:
    assert SseDecoder().feed(b"id: 1-1\ndata: half") == []


def test_a_line_without_end_is_refused() -> None:
    decoder = SseDecoder()
    decoder.feed(b"x" * MAX_LINE_BYTES)
    with pytest.raises(ClientError, match="without an end"):
        decoder.feed(b"x")


@pytest.mark.parametrize("data", [b"{", b"[]", b'{"delta":"x"}', b'{"type":1}', b'"text"'])
def test_what_is_no_event_is_refused(data: bytes) -> None:
    with pytest.raises(ClientError):
        Frame(None, data).fields()
