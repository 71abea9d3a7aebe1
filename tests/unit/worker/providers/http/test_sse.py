"""The SSE reader against a parser that is slow, independent and obviously right."""

import re
from collections.abc import Iterable, Iterator
from itertools import pairwise, repeat

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.worker.providers.http.sse import ErrorData, SseReader
from shared.errors import ProviderMalformed

__all__ = ()


def slow_parse(stream: bytes) -> list[tuple[bytes, bool]]:
    """WHATWG 9.2.6 to the letter, on the whole stream at once: data, and whether the event was named `error`.

    Besides, what errors come as: a field `error` with an object, and bare JSON in an event without data.
    """
    stream = stream.removeprefix(b"\xef\xbb\xbf")
    lines = re.split(rb"\r\n|\n|\r", stream)[:-1]
    events = []
    data, event, block = b"", b"", b""
    for line in lines:
        if line == b"":
            if data:
                events.append((data[:-1], event == b"error"))
            elif block.startswith((b"{", b"[{")):
                events.append((block[:-1], False))
            data, event, block = b"", b"", b""
            continue
        block += line + b"\n"
        name, colon, value = line.partition(b":")
        if colon and value[:1] == b" ":
            value = value[1:]
        if name == b"data":
            data += value + b"\n"
        elif name == b"event":
            event = value
        elif name == b"error" and value.startswith(b"{"):
            data, event = data + value + b"\n", b"error"
    return events


def feed_all(reader: SseReader, chunks: Iterable[bytes]) -> list[bytes]:
    return [data for chunk in chunks for data in reader.feed(chunk)]


def parse(chunks: Iterable[bytes]) -> list[tuple[bytes, bool]]:
    return [(data, isinstance(data, ErrorData)) for data in feed_all(SseReader(), chunks)]


def cut(stream: bytes, cuts: list[int]) -> Iterator[bytes]:
    places = sorted({min(place, len(stream)) for place in cuts} | {0, len(stream)})
    return (stream[start:end] for start, end in pairwise(places))


# Made of what matters to a parser, so that every meeting of two of them is seen.
TOKENS = st.sampled_from(
    [
        *(b"\n", b"\r", b"\r\n", b"\n\n", b"data: ", b"data:", b"data", b"data :", b" data: ", b": comment", b":"),
        *(b"event: error", b"event: ping", b"id: 7", b"retry: 10", b"x", b" ", b"[DONE]", b'{"a":1}', b"\x00"),
        *(b'error: {"a":1}', b"[{", b"error: x"),
        *("\u2028".encode(), "\u0085".encode(), "\ufeff".encode(), "é".encode(), "😀".encode(), b"\xff", b"\v\f"),
    ]
)
STREAMS = st.lists(TOKENS, max_size=40).map(b"".join)
USUAL = st.lists(st.binary(max_size=20).map(lambda b: b.translate(None, b"\r\n")), min_size=1, max_size=10)


@given(STREAMS, st.lists(st.integers(0, 200), max_size=12))
@example(b"data: a\r\n\r\ndata: b\r\r", [8, 9, 10])
@example(b"\xef\xbb\xbfdata: a\n\n", [1, 2])
@example(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\n\xef\xbb\xbfdata: b\n\n", [])
@example(b"data: a\n\n\ndata: b\n\n", [9])
def test_any_stream_cut_anywhere_is_read_as_the_slow_parser_reads_it(stream: bytes, cuts: list[int]) -> None:
    assert parse(cut(stream, cuts)) == slow_parse(stream)


@given(STREAMS)
def test_a_stream_may_be_cut_at_every_byte(stream: bytes) -> None:
    assert parse([stream[i : i + 1] for i in range(len(stream))]) == slow_parse(stream)


@given(USUAL, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.lists(st.integers(0, 400), max_size=8))
def test_usual_events_in_every_framing(payloads: list[bytes], newline: bytes, cuts: list[int]) -> None:
    stream = b"".join(b"data: " + payload + newline + newline for payload in payloads)
    assert [data for data, _ in parse(cut(stream, cuts))] == payloads


def test_a_character_cut_in_two_arrives_whole() -> None:
    stream = "data: 漢😀\n\n".encode()
    assert parse([stream[:8], stream[8:10], stream[10:]]) == [("漢😀".encode(), False)]


def test_an_unfinished_event_is_only_given_out_at_the_end() -> None:
    reader = SseReader()
    assert feed_all(reader, [b"data: a\n\ndata: b\n", b": c\n"]) == [b"a"]
    assert reader.finish() == [b"b"]
    assert reader.finish() == []


@pytest.mark.parametrize("end", [b"", b"\n", b"\r", b"\r\n"])
def test_the_last_event_may_lack_its_empty_line(end: bytes) -> None:
    reader = SseReader()
    assert reader.feed(b"data: a\n\ndata: [DONE]" + end) == [b"a"]
    assert reader.finish() == [b"[DONE]"]


def test_error_events_can_be_told_apart() -> None:
    assert parse([b'event: error\ndata: {"message":"x"}\n\ndata: y\n\n']) == [(b'{"message":"x"}', True), (b"y", False)]


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_a_line_that_never_ends_is_refused(size: int) -> None:
    reader = SseReader(max_event_bytes=10_000)
    with pytest.raises(ProviderMalformed):
        feed_all(reader, repeat(b"x" * size, 10_002 // size + 1))


@pytest.mark.parametrize("cuts", [[], [5_000], list(range(10_000))])
def test_the_cap_is_exact(cuts: list[int]) -> None:
    longest = b"data: " + b"x" * 9_994 + b"\n\n"
    reader = SseReader(max_event_bytes=10_000)
    assert [len(data) for data in feed_all(reader, cut(longest * 2, cuts))] == [9_994, 9_994]
    with pytest.raises(ProviderMalformed):
        feed_all(reader, cut(b"data: " + b"x" * 10_001 + b"\n\n", cuts))


def test_a_drip_is_read_in_linear_time() -> None:
    reader = SseReader(max_event_bytes=1_000_000)
    reader.feed(b"data: ")
    for _ in range(300_000):
        reader.feed(b"x")
    assert [len(data) for data in reader.feed(b"\n\n")] == [300_000]


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_named_events_are_as_good_as_any(size: int) -> None:
    """The short way for events of a name and one line of data takes nothing else for them."""
    body = (
        b'event: a\ndata: {"x":1}\n\nevent: b\ndata: {"y":"event: c"}\n\n'
        b'event: error\ndata: {"z":1}\n\nevent: a\ndata: 2\n\n'
        b"event: a\n\nevent: a\ndata: 3\ndata: 4\n\nevent: a\nid: 7\ndata: 5\n\ndata: 6\nevent: a\n\n"
    )
    reader = SseReader()
    told = [each for at in range(0, len(body), size) for each in reader.feed(body[at : at + size])]
    assert told == [b'{"x":1}', b'{"y":"event: c"}', b'{"z":1}', b"2", b"3\n4", b"5", b"6"]
    assert [type(each) is ErrorData for each in told] == [False, False, True, False, False, False, False]
